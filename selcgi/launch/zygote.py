"""One zygote as its worker sees it: a process in its own cgroup leaf, a control socket, and its lines for the log.

Decides nothing about requests: it starts the process in its context, takes in its reports, hands requests on and ends
it. Must not wait for it: what it is sent waits in the socket until it is ready. Used by launch/zygotes.py alone.
"""

import array
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import NamedTuple, Protocol

from selcgi.context import Context
from selcgi.errors import USED_UP, LaunchFailed, ZygoteFailed
from selcgi.launch.spawn import execute, is_entered
from selcgi.plan import Account, Limits, Script
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.posixspawn import Image
from selcgi.system.processes import look_at, reap
from selcgi.system.selinux import Labels
from selcgi.zygote.frames import FAILED, MESSAGE_BYTES, READY, RETIRING, Setup, decode_report, encode_setup

Stamp = tuple[int, int, int]
_LINE_BYTES = 4096
_SAID_BYTES = 262_144  # from one hear() to the next, 2 s: 3 ms of the worker, or 70 ms where each line is one character
_MOMENT_SECONDS = 1.0  # in which it has taken a request, if ever
_NAME = 40  # characters, of a report that is none
_REASON = 1000  # characters, of an end: they stand in each line that tells of it
# What it may report next, after what it has reported last: each once, so that look() comes to an end. What it has
# loaded writes there, too.
_NEXT: dict[str, tuple[str, ...]] = {"": (READY, FAILED), READY: (RETIRING, FAILED), RETIRING: (FAILED,)}
_WAITING_BYTES = 1 << 20  # of requests that it has not taken in; net.core.wmem_max is less, mostly: about 550 of them


class ZygoteGone(ZygoteFailed):
    """It has ended, which nobody had noticed yet."""


class Watcher(Protocol):
    """The worker's poller."""

    def add_reader(self, descriptor: int, call: Callable[[], object]) -> None: ...
    def remove_reader(self, descriptor: int) -> None: ...


class Application(NamedTuple):
    """What a zygote is for: two requests have the same one when all of this is the same."""

    script: bytes
    context: Context | None  # the zygote's own; None with --selinux off
    account: Account | None
    served: str  # plan.Warm.application

    def __str__(self) -> str:
        return os.fsdecode(self.script)


class Zygote:
    """`state`: starting, ready, retiring, or ended; `why` then says what it ended of, and `fix` what to do."""

    def __init__(self, application: Application, stamp: Stamp, serial: int, labels: Labels, leaves: Leaves) -> None:
        """OSError without a free descriptor."""
        self._labels = labels
        self._leaves = leaves
        self._watcher: Watcher | None = None
        self._lines: Callable[[], object] | None = None  # to be called when there are some to read
        self._said = 0  # bytes of its lines, since hear()
        self.application = application
        self.stamp = stamp  # of the script that it has read
        self.serial = serial  # of the policy's load
        self.state = "starting"
        self.why = self.fix = ""
        self.failed = False  # it could not even start, or does not keep to what a zygote reports
        self._reported = ""  # the last of its reports
        self._awaited = False  # its end
        self.served = 0  # requests
        self.since = self.used = time.monotonic()
        self._ready = self.since  # when it was
        self._asked: deque[float] = deque()  # when it was lent those requests of which nothing has been heard
        self.pid = 0
        self.control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING_BYTES)
        self.log, self._log_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.log, False)
        self.leaf: Leaf | None = None

    def start(self, program: Script, argv: tuple[bytes, ...], environ: Mapping[bytes, bytes]) -> None:
        """Execute `program`. LaunchFailed or ContextLost: close() gives back what there is of it."""
        labels, context = self._labels, self.application.context
        self.leaf = leaf = self._leaves.lease()
        streams = (self._theirs.fileno(), self._log_end, self._log_end)
        image = Image(program.path, argv, environ, streams, program.directory)
        try:
            with leaf if is_entered(leaf) else nullcontext(), labels.exec_context(context):
                self.pid = execute(image, leaf, self.application.account, Limits())
        except OSError as error:
            reason, fix = labels.explain_exec(context, program, error)
            raise LaunchFailed("zygote", reason, fix) from error
        self._leaves.scripts.add(self.pid)
        self._theirs.close()
        os.close(self._log_end)
        self._log_end = -1
        labels.confirm(self.pid, context)

    def watch(self, watcher: Watcher, reports: Callable[[], object], lines: Callable[[], object]) -> None:
        """Have those called when there is something for look() or read_log(). OSError."""
        self._watcher, self._lines = watcher, lines
        watcher.add_reader(self.control.fileno(), reports)
        watcher.add_reader(self.log, lines)

    def set_up(self, setup: Setup, script: Script) -> None:
        """What it is for. ZygoteFailed when it has ended already."""
        self._send(encode_setup(setup), (script.descriptor,))

    def lend(self, descriptors: tuple[int, ...]) -> float:
        """One request, and when that was. ZygoteFailed when it takes none."""
        self._send(b"request", descriptors)
        self.served += 1
        self.used = time.monotonic()
        self._asked.append(self.used)
        return self.used

    def answered(self, asked: float) -> None:
        """It has taken the request that it was lent then, and so all before it."""
        while self._asked and self._asked[0] <= asked:
            self._asked.popleft()

    def spared(self, asked: float) -> None:
        """Nobody waits for that request any more. That it has not taken it still counts, if it had the time to."""
        if self.state == "starting" or time.monotonic() - asked < _MOMENT_SECONDS:
            with suppress(ValueError):
                self._asked.remove(asked)

    def has_ended(self) -> bool:
        """For sure: what it has started may hold its end of the socket open, which then tells nothing."""
        return bool(self.pid) and look_at(self.pid) is not None

    def silent_since(self) -> float | None:
        """When it was lent the first request that it has not taken, ready as it is; None when there is none."""
        return max(self._asked[0], self._ready) if self._asked and self.state == "ready" else None

    def _send(self, data: bytes, descriptors: tuple[int, ...]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            self.control.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except BlockingIOError as error:
            raise ZygoteFailed(f"the warm interpreter of {self.application} takes no more requests now") from error
        except ConnectionError as error:
            raise ZygoteGone(f"the warm interpreter of {self.application} is gone: {error.strerror}") from error
        except OSError as error:
            reason = f"the warm interpreter of {self.application} can be sent nothing: {error.strerror}"
            raise ZygoteFailed(reason, USED_UP.get(error.errno or 0, "")) from error

    def look(self) -> None:
        """Take in its reports."""
        while self.state != "ended":
            try:
                data = self.control.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it has left requests unread; what it has reported comes next
                continue
            if not data:
                self._ended(self.why or "it ended by itself, or was killed", "see its lines in the log")
                return
            try:
                self._heard(*map(str, decode_report(data)))
            except (ValueError, TypeError, RecursionError):
                self._breach("what is no report")

    def _heard(self, name: str, why: str = "", fix: str = "") -> None:
        if name not in _NEXT[self._reported]:
            self._breach(f"{name[:_NAME]!r} out of turn")
            return
        self._reported = name
        if name == READY:
            self.state = "ready" if self.state == "starting" else self.state
            self._ready = time.monotonic()
        elif name == RETIRING:
            self.retire(why[:_REASON])
        else:
            self.failed = True
            self._ended(why[:_REASON], fix[:_REASON])

    def _breach(self, what: str) -> None:
        """Nothing that comes from it is believed any more; it is not started again at once."""
        self.failed = True
        self.kill(f"it has reported {what}", "only what it has loaded can do that: see its script and --preload")

    def _ended(self, why: str, fix: str = "") -> None:
        self.failed = self.failed or self.state == "starting"
        self.state, self.why, self.fix = "ended", why, fix
        if self._watcher is not None:
            self._watcher.remove_reader(self.control.fileno())

    def retire(self, why: str) -> None:
        """It serves what it has been lent to, and ends."""
        if self.state in ("starting", "ready"):
            self.state, self.why = "retiring", why
            with suppress(OSError):
                self.control.shutdown(socket.SHUT_WR)

    def kill(self, why: str, fix: str = "") -> None:
        """With all that a preload may have started."""
        self._ended(why, fix)
        if self.leaf is not None:
            self.leaf.kill()

    def read_log(self) -> list[str]:
        """The next of what it has written, whole lines or not."""
        try:
            data = os.read(self.log, _LINE_BYTES)
        except BlockingIOError:
            return []
        self._said += len(data)
        if (not data or self._said >= _SAID_BYTES) and self._watcher is not None:
            self._watcher.remove_reader(self.log)
        return [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]

    def hear(self) -> None:
        """Its lines are read on. Between two calls no more is read than takes the worker a moment: who writes more has
        to wait."""
        if self._said >= _SAID_BYTES and self._watcher and self._lines and self.log >= 0:
            self._watcher.add_reader(self.log, self._lines)
        self._said = 0

    def gone(self) -> bool:
        """Reap it, once it has ended; then nothing of it is left and nothing is open. What is still there when it is
        asked again is killed: a thread that a module has left, say, keeps it for ever. Not at once: a request's process
        that was born last may have to be moved from here to where it belongs."""
        if self.pid:
            with suppress(ChildProcessError):
                if reap(self.pid) is None:
                    return self._insist()
            self._leaves.scripts.discard(self.pid)
            self.pid = 0
        if self.leaf is not None and self.leaf.populated():
            return self._insist()
        self.close()
        return True

    def _insist(self) -> bool:
        if self.leaf is not None and self._awaited:
            self.leaf.kill()
        self._awaited = True
        return False

    def close(self) -> None:
        """Close what is open. What still runs is killed."""
        self.control.close()
        self._theirs.close()
        if self._watcher is not None and self.log >= 0:
            self._watcher.remove_reader(self.log)  # who gets its number next would not be heard
        for descriptor in (self.log, self._log_end):
            if descriptor >= 0:
                os.close(descriptor)
        self.log = self._log_end = -1
        leaf, self.leaf = self.leaf, None
        if leaf is not None:
            if self.pid:
                leaf.kill()
                with suppress(ChildProcessError):
                    reap(self.pid, wait=True)
                self._leaves.scripts.discard(self.pid)
            self._leaves.give_back(leaf)
        self.pid = 0
