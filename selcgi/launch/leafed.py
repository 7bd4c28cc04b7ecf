"""A running script whose processes are the members of one cgroup leaf: the Running that worker and kernel share.

Decides when a request's processes are gone: when the script is reaped and the kernel says the leaf is empty. Must not
block or log. Made by launch/cold.py.
"""

import os
import signal
from contextlib import suppress

from selcgi.errors import LaunchFailed
from selcgi.launch.streams import Streams
from selcgi.plan import Exit
from selcgi.system.ceilings import met
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.processes import reap, signal_group


class LeafRunning:
    """See launch/running.py for what each member promises."""

    warm = False
    confirmed = True

    def __init__(self, pid: int, streams: Streams, leaves: Leaves, leaf: Leaf, *, by_leaf: bool = False) -> None:
        """`by_leaf`: that of the leaf is `wake` from the first, since somebody watches it already. OSError when its end
        can't be watched for there; then nothing is owned."""
        self.pid = self.root = pid
        self.cgroup = leaf.name
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self._leaves = leaves
        self._leaf = leaf
        self.exit: Exit | None = None
        self.gone = False
        self.wake = self._pidfd = -1
        self._by_leaf = False
        if by_leaf:
            self._watch_by_leaf()
        leaves.scripts.add(pid)

    def _watch_by_leaf(self) -> None:
        self._pidfd = os.pidfd_open(self.pid)
        try:
            self._leaf.watch(self._pidfd)
        except OSError:
            os.close(self._pidfd)
            raise
        self._by_leaf, self.wake = True, self._leaf.wake

    def _unwatch(self) -> None:
        """It would stay readable for ever."""
        self._leaf.unwatch(self._pidfd)
        self._by_leaf = False

    def waited_for(self, pid: int, when: float) -> bool:  # noqa: ARG002
        return False

    def poll(self) -> None:
        if self.exit is None:
            self._reap()
        populated = self._leaf.populated()  # in any case: reading it is what takes the notice from the leaf's `wake`
        if self.exit is not None:
            self.wake, self.gone = self._leaf.wake, not populated
        elif self._pidfd < 0:
            self._watch_end()

    def _watch_end(self) -> None:
        """It goes on without its stdout, or is to be ended. Where no descriptor is left, the next poll() tries anew."""
        with suppress(OSError):
            self.wake = self._pidfd = os.pidfd_open(self.pid)

    def _reap(self) -> None:
        try:
            self.exit = reap(self.pid)
        except ChildProcessError as error:
            raise LaunchFailed("wait", f"process {self.pid} was reaped by something else than its request") from error
        if self._by_leaf and self.exit is not None:
            self._unwatch()

    @property
    def met(self) -> str:
        return met(self._leaf.path) if self._leaf.confined else ""

    def terminate(self) -> None:
        if self.exit is None:
            signal_group(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.exit is None:
            self._leaf.end(self.pid)
        else:
            self._leaf.kill()
        if self.wake < 0:
            self.wake = self._leaf.wake  # tells when it is empty, without a descriptor more

    def close(self) -> None:
        if not self.gone:
            self.kill()
        if self._by_leaf:
            self._unwatch()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._leaves.give_back(self._leaf, empty=self.gone)
        self._leaves.scripts.discard(self.pid)
