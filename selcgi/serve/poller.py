"""Readiness of the many descriptors that live as long as one request: one epoll(7) that the event loop watches as one.

Decides nothing: it calls who asked. An event loop's own handle costs up to eight system calls for each descriptor
(libuv probes, asks and removes twice), and a request has four. Must not block, and must not keep a descriptor: whoever
adds one removes it before closing it. One for each worker, which has its loop watch it.
"""

import select
from collections.abc import Callable

Call = Callable[[], object]
_AT_ONCE = 64  # events of one turn, so that the loop's other work has its turn too
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class Poller:
    """Calls are level-triggered, one reader and one writer for each descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Call] = {}
        self._writers: dict[int, Call] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()

    def dispatch(self) -> None:
        """Call all whose time has come. One that was removed meanwhile is not called."""
        for descriptor, events in self._epoll.poll(0, _AT_ONCE):
            if events & _READ and (call := self._readers.get(descriptor)):
                call()
            if events & _WRITE and (call := self._writers.get(descriptor)):
                call()

    def add_reader(self, descriptor: int, call: Call) -> None:
        """Also in place of another."""
        self._add(descriptor, self._readers, call, descriptor in self._writers, select.EPOLLIN)

    def add_writer(self, descriptor: int, call: Call) -> None:
        """Also in place of another."""
        self._add(descriptor, self._writers, call, descriptor in self._readers, select.EPOLLOUT)

    def remove_reader(self, descriptor: int) -> None:
        """Also when there is none."""
        if self._readers.pop(descriptor, None):
            self._forget(descriptor, descriptor in self._writers, select.EPOLLOUT)

    def remove_writer(self, descriptor: int) -> None:
        """Also when there is none."""
        if self._writers.pop(descriptor, None):
            self._forget(descriptor, descriptor in self._readers, select.EPOLLIN)

    def _add(self, descriptor: int, calls: dict[int, Call], call: Call, other: bool, events: int) -> None:
        if descriptor not in calls:
            if other:
                self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
            else:
                self._epoll.register(descriptor, events)
        calls[descriptor] = call

    def _forget(self, descriptor: int, kept: bool, events: int) -> None:
        if kept:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
