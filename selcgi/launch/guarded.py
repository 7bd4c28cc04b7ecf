"""A running script behind a guard: the worker's end of the socket that launch/guard.py reports on.

Decides nothing about processes as long as the guard lives: the end of the socket is the end of the request. What a
killed guard leaves becomes the worker's (prctl(2), PR_SET_CHILD_SUBREAPER): every child of a worker that is no guard is
such an orphan, and is killed. Must not block: the guard starts the script while the worker goes on. Made by
launch/cold.py.
"""

import contextlib
import json
import os
import select
import socket

from selcgi.errors import ContextLost, LaunchFailed, LaunchStarved
from selcgi.launch import guard
from selcgi.launch.steps import step
from selcgi.launch.streams import Streams
from selcgi.plan import Exit, Plan
from selcgi.system.processes import children, kill_children, lists_children, quiet_fork, reap
from selcgi.system.selinux import Labels


class Guards:
    """Those of one worker, which must be a subreaper and have no other children."""

    def __init__(self) -> None:
        self._pids: set[int] = set()

    def start(self, plan: Plan, streams: Streams, labels: Labels) -> "GuardedRunning":
        """Fork the guard of one request. LaunchFailed("guard"): there is none, and no descriptor is left open."""
        if not lists_children():
            raise LaunchFailed(
                "guard", "the kernel lists no children (CONFIG_PROC_CHILDREN)", "delegate a cgroup to selcgi"
            )
        with step("guard"):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, contextlib.ExitStack() as on_failure:
                on_failure.callback(ours.close)
                ours.setblocking(False)
                news = on_failure.enter_context(select.epoll(2))
                news.register(ours, select.EPOLLIN)
                pid = quiet_fork()
                if pid == 0:
                    guard.run_guard(plan, streams.theirs, labels, theirs)
                on_failure.pop_all()
            self._pids.add(pid)
            return GuardedRunning(pid, ours, news, streams, self)

    def bury(self, pid: int) -> bool:
        """Wait for a guard that is about to end. True when it says by its exit that nothing of its request is left."""
        _, status = os.waitpid(pid, 0)
        self._pids.discard(pid)
        return status == 0

    def end_orphans(self) -> int:
        """Passes of SIGKILL over what killed guards have left: a pidfd of one that is about to end, -1 when none is
        there. What the last of its parents leaves us only as it ends takes another pass: nobody has killed it yet."""
        while orphans := self._orphans():
            kill_children(spare=self._pids)
            for pid in orphans:
                reap(pid)
            if ending := set(orphans).intersection(self._orphans()):
                return os.pidfd_open(ending.pop())
        return -1

    def _orphans(self) -> list[int]:
        return [pid for pid in children() if pid not in self._pids]


class GuardedRunning:
    """See launch/running.py for what each member promises. `wake` is readable when the socket or an orphan has news."""

    warm = False

    def __init__(
        self, guard_pid: int, worker_end: socket.socket, news: select.epoll, streams: Streams, guards: Guards
    ) -> None:
        self.pid = 0
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self.wake = news.fileno()
        self._news = news
        self._socket = worker_end
        self._guards = guards
        self._guard_pid = self.root = guard_pid
        self.cgroup = ""
        self._orphan = -1  # pidfd of a process that a killed guard has left
        self._exit: Exit | None = None
        self._over = False  # the guard has said how the script ended, or that it never ran
        self._gone = False

    def waited_for(self, pid: int, when: float) -> bool:  # noqa: ARG002
        return False

    def poll(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                message = self._socket.recv(guard.MESSAGE_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it ended before it took an order; what it has reported comes next
                continue
            if not message:
                self._ended()
                return
            name, *values = json.loads(message)
            getattr(self, _REPORTS[name])(*values)
        if not self._gone:
            self._end_orphans()

    def _started(self, pid: int) -> None:
        self.pid = pid

    def _exited(self, code: int | None, signum: int | None, cpu_seconds: float, maxrss_bytes: int) -> None:
        self._over = True
        self._exit = Exit(code, signum, cpu_seconds, maxrss_bytes)

    def _failed(self, kind: str, name: str, reason: str, fix: str) -> None:
        self._over = True
        raise _ERRORS[kind](name, reason, fix)

    def _ended(self) -> None:
        """The guard closes its end by its own death alone, so this wait is over at once."""
        self._socket.close()  # its place is free for the pidfd of an orphan
        in_order = self._guards.bury(self._guard_pid)
        if in_order:
            self._gone = True
        else:
            self._end_orphans()
        if not (in_order and self._over):
            reason = "the guard of the request was killed, and the script with it"
            raise LaunchFailed("guard", reason, "see who killed it (oom killer?); delegate a cgroup to need no guards")

    def _end_orphans(self) -> None:
        """One that is left wakes us at its end; its children are ours by then."""
        self._forget_orphan()
        self._orphan = self._guards.end_orphans()
        if self._orphan < 0:
            self._gone = True
        else:
            self._news.register(self._orphan, select.EPOLLIN)

    def _forget_orphan(self) -> None:
        if self._orphan >= 0:
            os.close(self._orphan)
            self._orphan = -1

    @property
    def confirmed(self) -> bool:
        return self.pid != 0

    @property
    def exit(self) -> Exit | None:
        return self._exit

    @property
    def met(self) -> str:
        return ""

    @property
    def gone(self) -> bool:
        return self._gone

    def terminate(self) -> None:
        self._order(guard.TERMINATE)

    def kill(self) -> None:
        self._order(guard.KILL)

    def close(self) -> None:
        """If it is not gone, the guard takes the closed socket for the order to kill."""
        self._socket.close()
        self._news.close()
        self._forget_orphan()

    def _order(self, order: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # poll() will see that it is gone
            self._socket.send(order, socket.MSG_NOSIGNAL)


_ERRORS = {one.__name__: one for one in (LaunchFailed, LaunchStarved, ContextLost)}
_REPORTS = {guard.STARTED: "_started", guard.EXITED: "_exited", guard.FAILED: "_failed"}
