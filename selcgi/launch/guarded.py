"""A running script behind a guard: the worker's end of the socket that launch/guard.py reports on.

Decides nothing about processes: it believes its guard, and takes the end of the socket for the end of the request.
Must not block: the guard starts the script while the worker goes on. Made by launch/cold.py.
"""

import contextlib
import json
import os
import socket

from selcgi.errors import ContextLost, LaunchFailed, LaunchStarved
from selcgi.launch import guard
from selcgi.launch.steps import step
from selcgi.launch.streams import Streams
from selcgi.plan import Exit, Plan
from selcgi.system.processes import lists_children, quiet_fork
from selcgi.system.selinux import Labels


def start_guard(plan: Plan, streams: Streams, labels: Labels) -> "GuardedRunning":
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
            pid = quiet_fork()
            if pid == 0:
                guard.run_guard(plan, streams.theirs, labels, theirs)
            on_failure.pop_all()
        return GuardedRunning(pid, ours, streams)


class GuardedRunning:
    """See launch/running.py for what each member promises."""

    def __init__(self, guard_pid: int, worker_end: socket.socket, streams: Streams) -> None:
        self.pid = 0
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self.wake = worker_end.fileno()
        self._socket = worker_end
        self._guard_pid = guard_pid
        self._exit: Exit | None = None
        self._over = False  # the guard has said how the script ended, or that it never ran
        self._gone = False

    def poll(self) -> None:
        while not self._gone:
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
        self._gone = True
        os.waitpid(self._guard_pid, 0)
        if not self._over:
            reason = "the guard of the request was killed, its script may have outlived it"
            raise LaunchFailed("guard", reason, "see who killed it (oom killer?); delegate a cgroup to need no guards")

    @property
    def confirmed(self) -> bool:
        return self.pid != 0

    @property
    def exit(self) -> Exit | None:
        return self._exit

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

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # poll() will see that it is gone
            self._socket.send(order, socket.MSG_NOSIGNAL)


_ERRORS = {one.__name__: one for one in (LaunchFailed, LaunchStarved, ContextLost)}
_REPORTS = {guard.STARTED: "_started", guard.EXITED: "_exited", guard.FAILED: "_failed"}
