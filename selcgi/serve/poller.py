"""Readiness of the many descriptors that live as long as one request: one epoll(7) that the event loop watches as one.

Decides nothing but who is called first: it calls who asked. An event loop's own handle costs up to eight system calls
for each descriptor (libuv probes, asks and removes twice), and a request has four. Must not block, and must not keep a
descriptor: whoever adds one removes it before closing it. A close alone would not do: a child that is being started has
it open until its exec is done, and the kernel would tell of it all the while (epoll(7), question 6). One for each
worker, which has its loop watch it.
"""

import select
from collections.abc import Callable

Call = Callable[[], object]
Failed = Callable[[Exception], object]
_AT_ONCE = 64  # events of one turn, so that the loop's other work has its turn too
_FEW = 2  # events of a turn, of different requests as a rule: nobody is there to keep step with
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_HANGUP = select.EPOLLHUP
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class Poller:
    """Calls are level-triggered, one reader and one writer for each descriptor. `failed` is told what one raises; where
    there is none, dispatch() raises it. `busy`: in this turn, several requests were told something."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.busy = False
        self._ends: dict[int, tuple[Call, Failed | None]] = {}
        self._readers: dict[int, tuple[Call, Failed | None]] = {}
        self._writers: dict[int, tuple[Call, Failed | None]] = {}
        self._hangups: dict[int, tuple[Call, Failed | None]] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()

    def dispatch(self) -> None:
        """Call all whose time has come. One that was removed meanwhile is not called."""
        ready = self._epoll.poll(0, _AT_ONCE)
        self.busy = len(ready) > _FEW
        for descriptor, events in ready:
            if asked := self._ends.get(descriptor) or (events & _HANGUP and self._hangups.get(descriptor)):
                attempt(*asked)
        for descriptor, events in ready:
            if events & _READ and (asked := self._readers.get(descriptor)):
                attempt(*asked)
            if events & _WRITE and (asked := self._writers.get(descriptor)):
                attempt(*asked)

    def add_end(self, descriptor: int, call: Call, failed: Failed | None = None) -> None:
        """A reader of what says that processes have ended, called before all others: then all that they wrote is read
        in one turn, and nobody need wait for more of it."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._ends[descriptor] = call, failed

    def remove_end(self, descriptor: int) -> None:
        """Also when there is none."""
        if self._ends.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    def add_reader(self, descriptor: int, call: Call, failed: Failed | None = None, hangup: Call | None = None) -> None:
        """Also in place of another. `hangup` is called before all readers, as long as nobody has its other end open."""
        if descriptor not in self._readers:
            self._watch(descriptor, descriptor in self._writers, select.EPOLLIN)
        self._readers[descriptor] = call, failed
        if hangup is not None:
            self._hangups[descriptor] = hangup, failed

    def add_writer(self, descriptor: int, call: Call, failed: Failed | None = None) -> None:
        """Also in place of another."""
        if descriptor not in self._writers:
            self._watch(descriptor, descriptor in self._readers, select.EPOLLOUT)
        self._writers[descriptor] = call, failed

    def remove_reader(self, descriptor: int) -> None:
        """Also when there is none."""
        if self._readers.pop(descriptor, None):
            self._hangups.pop(descriptor, None)
            self._forget(descriptor, descriptor in self._writers, select.EPOLLOUT)

    def remove_writer(self, descriptor: int) -> None:
        """Also when there is none."""
        if self._writers.pop(descriptor, None):
            self._forget(descriptor, descriptor in self._readers, select.EPOLLIN)

    def _watch(self, descriptor: int, other: bool, events: int) -> None:
        if other:
            self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
        else:
            self._epoll.register(descriptor, events)

    def _forget(self, descriptor: int, kept: bool, events: int) -> None:
        if kept:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)


def attempt(call: Call, failed: Failed | None) -> None:
    """What a callback raises must not vanish in the event loop."""
    try:
        call()
    except Exception as error:
        if failed is None:
            raise
        failed(error)
