"""A request in a fork of a warm interpreter: from a Plan to a Running whose process a zygote makes.

Decides when the script may begin: once its process is known here and watched, it gets its job; and when it is believed:
once the kernel shows it in its context, as after a fresh start. A zygote that is gone costs one more try. What comes
after is a LeafRunning's. Must not block or log. Made by launch/cold.py.
"""

import os
import socket
import struct
import time
from contextlib import suppress

from selcgi.errors import ContextLost, LaunchFailed, ZygoteFailed
from selcgi.launch.child import to_rlimits
from selcgi.launch.leafed import LeafRunning
from selcgi.launch.spawn import check_limits, spawn
from selcgi.launch.steps import failed
from selcgi.launch.streams import Streams
from selcgi.launch.zygote import ZygoteGone
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Exit, Plan
from selcgi.system.leaves import Leaf
from selcgi.system.processes import reap
from selcgi.zygote.frames import BORN, STUCK, Job, decode_report, encode_job

_REPORT_BYTES = 32768
_AT_ONCE = 8  # pieces of reports, which have no more than two: the worker has others to hear
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_CREDENTIALS_SPACE = socket.CMSG_SPACE(_CREDENTIALS.size)
_TRIES = 2
_MUCH = 65536  # bytes of a job: up to here any buffer will do


class WarmRunning:
    """See launch/running.py for what each member promises. It owns `streams.theirs` until the process has them."""

    def __init__(self, plan: Plan, streams: Streams, zygotes: Zygotes, leaf: Leaf) -> None:
        """LaunchFailed: nothing of it runs, and the leaf and the streams are still the caller's."""
        check_limits(plan.limits)
        self.pid = self.root = 0
        self.cgroup = leaf.name
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self.wake = leaf.wake
        self._plan, self._streams = plan, streams
        self._zygotes, self._labels, self._leaves, self._leaf = zygotes, zygotes.labels, zygotes.leaves, leaf
        self._channel: socket.socket | None = None
        self._heard = b""
        self._tries = 0
        self._asked: list[int] = []  # pids of zygotes
        self._began = 0.0  # seconds since the epoch: its process is there, and waits for no zygote
        # Another user's zygote may put nothing into a cgroup of selcgi's: its child is moved there before it begins.
        self._born_inside = plan.account is None
        self._process: LeafRunning | None = None
        self._error: LaunchFailed | None = None
        self._untaken = False  # the job
        self._over = False  # the channel has ended, and nobody has looked what that means
        self._confirmed = self._killed = self._empty = False
        self.warm = True
        try:
            self._ask()
        except BaseException:
            self._disconnect()
            leaf.spent = True  # a zygote may have been asked, and still find it
            raise

    def _ask(self) -> None:
        """Have a zygote make the process; a fresh program instead, where that is wanted and no zygote can be had."""
        try:
            self._lend()
        except ZygoteFailed as error:
            self._disconnect()
            if isinstance(error, ZygoteGone) and self._tries < _TRIES:
                self._ask()
            else:
                self._go_without(error)

    def _lend(self) -> None:
        self._tries += 1
        zygote = self._zygotes.get(self._plan)
        self._asked.append(zygote.pid)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise failed("zygote", error) from error
        with theirs:
            self._channel = ours
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            script = self._plan.script
            own = (*self._streams.theirs, script.directory, script.descriptor, theirs.fileno())
            try:
                zygote.lend((*own, self._leaf.birthplace()) if self._born_inside else own)
                self._leaf.watch(ours.fileno())
            except OSError as error:
                raise failed("zygote", error) from error
        self._leaves.scripts.expecting.add(self._learn)
        self._zygotes.lent(zygote)
        if self._tries > 1:
            self._zygotes.retried()

    def _go_without(self, error: ZygoteFailed) -> None:
        if self._plan.warm is None or not self._plan.warm.fallback:
            raise error
        self._zygotes.fell_back(self._plan, error)
        self.warm = False
        pid = spawn(self._plan, self._streams.theirs, self._labels, self._leaf, lambda _: self._leaf.kill())
        self._born(pid)
        self._confirmed = True

    def _learn(self) -> None:
        """Take in what the channel has, as far as it says which process is ours. It is left open at its end: not only
        poll() calls this, and `wake` must then tell that there is something for poll(); or more to read, since what a
        zygote has loaded may write there for ever."""
        for _ in range(_AT_ONCE):
            if self._channel is None or self._error is not None or self._over:
                return
            try:
                data, parts, _, _ = self._channel.recvmsg(_REPORT_BYTES, _CREDENTIALS_SPACE)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it did not read the whole job
                data, self._untaken = b"", True
            if not data:
                self._over = True
                return
            try:
                self._take(data, _sender(parts))
            except LaunchFailed as error:
                self._refuse(error)
            except (ValueError, RecursionError):  # what the zygote has loaded writes there
                self._refuse(LaunchFailed("zygote", "the warm interpreter's child has reported what is no report"))

    def _refuse(self, error: LaunchFailed) -> None:
        """For poll() to tell. A child finds no job, and ends."""
        self._error = error
        self._hang_up()

    def _take(self, data: bytes, sender: int) -> None:
        """It is born once, or is stuck; what comes after that is not read."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        if len(self._heard) > _REPORT_BYTES:
            raise LaunchFailed("zygote", "the warm interpreter's child reports without end")
        for line in lines:
            name, *values = decode_report(line)
            if name == STUCK:
                step, reason, fix = map(str, values)
                raise LaunchFailed(step, reason, fix)
            if name != BORN or self._process is not None:
                raise ValueError(name)
            self._born(sender)
            self._zygotes.forked()
            self._send_job()

    def _born(self, pid: int) -> None:
        """It is watched from here on; if it can't be, it ends. It holds its streams by itself."""
        if not pid or self._leaves.scripts.has(pid):
            raise LaunchFailed("zygote", f"a child was reported by process {pid}, which is none of this request")
        try:
            if not self._born_inside and self._channel is not None:
                self._leaf.take(pid)
            self._leaves.slow(self._leaf, self._plan.limits)
            self._process = LeafRunning(pid, self._streams, self._leaves, self._leaf)
        except (OSError, LaunchFailed) as error:
            self._hang_up()  # one that is not in the leaf yet waits for its job
            self._leaf.kill()
            with suppress(ChildProcessError):
                reap(pid, wait=True)
            raise error if isinstance(error, LaunchFailed) else failed("wait", error) from error
        self.pid = self.root = pid
        self._began = time.time()
        self._leaves.scripts.expecting.discard(self._learn)
        self._streams.close_theirs()

    def _send_job(self) -> None:
        """All of it at once: the socket's buffer is larger than what a web server may send as params."""
        plan = self._plan
        context = "" if self._labels.own is None else str(plan.context)
        job = Job(plan.argv, plan.environ, context, to_rlimits(plan.limits), plan.limits.nice)
        assert self._channel is not None
        try:
            data = encode_job(job)
            if len(data) > _MUCH:
                self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + _MUCH)
            if self._channel.send(data, socket.MSG_NOSIGNAL) == len(data):
                return
        except (BlockingIOError, ValueError):
            pass
        except ConnectionError:  # why comes next, or its end
            self._untaken = True
            return
        except OSError as error:
            raise failed("zygote", error) from error
        raise LaunchFailed("zygote", "the params are too long for a warm interpreter", "raise net.core.wmem_max")

    def _ended(self) -> None:
        """The end of the channel: the child is in its context, or there is none."""
        if self._untaken:
            raise LaunchFailed("zygote", "the warm interpreter's child ended before it took the request")
        if self._process is not None:
            try:
                self._labels.confirm(self.pid, self._plan.context)
            except ContextLost as error:
                raise _explain_loss(self.pid, error) from error
            self._confirmed = True
        elif self._tries < _TRIES:
            self._ask()
        else:
            reason = "two warm interpreters ended before they took the request"
            self._go_without(ZygoteFailed(reason, "see their lines in the log"))

    def _hang_up(self) -> None:
        """The child reads the end of the channel, and so do we: unlike a closed one, it wakes."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)

    def _disconnect(self) -> None:
        """Nothing of what it has brought, or would have, counts any more."""
        self._over, self._heard = False, b""
        self._leaves.scripts.expecting.discard(self._learn)
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def poll(self) -> None:
        self._learn()
        if self._over:
            self._disconnect()
            self._ended()
        if self._process is not None:
            self._process.poll()
        else:
            self._empty = not self._leaf.populated()
        error, self._error = self._error, None
        if error is not None:
            self._disconnect()
            raise error

    def waited_for(self, pid: int, when: float) -> bool:
        return pid in self._asked and (not self._began or when <= self._began)

    @property
    def confirmed(self) -> bool:
        return self._confirmed

    @property
    def exit(self) -> Exit | None:
        return None if self._process is None else self._process.exit

    @property
    def met(self) -> str:
        return "" if self._process is None else self._process.met

    @property
    def gone(self) -> bool:
        return self._process.gone if self._process is not None else self._killed and self._empty

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """A zygote that has not taken the request yet finds no end of the channel, and no cgroup to be born in. None is
        asked again, since the channel is not heard any more."""
        self._killed = True
        if self._process is None:
            self._disconnect()
            self._leaf.spent = True
        self._leaf.kill()

    def close(self) -> None:
        self._disconnect()
        if self._process is not None:
            self._process.close()
            return
        self._streams.close_theirs()
        self.kill()
        self._leaves.give_back(self._leaf)


def _explain_loss(pid: int, lost: ContextLost) -> LaunchFailed:
    """One that has ended has lost no context: it never was in it. It is left for its LeafRunning to reap."""
    with suppress(ChildProcessError):
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            how = "with status" if found.si_code == os.CLD_EXITED else "by signal"
            reason = f"the warm interpreter's child ended {how} {found.si_status} before it was in its context"
            return LaunchFailed("zygote", reason, "see its lines in the log; raise memory= in the rule if there is one")
    return lost


def _sender(parts: list[tuple[int, int, bytes]]) -> int:
    """Pid of who wrote it, by the kernel's word (SO_PASSCRED of unix(7)), so that nobody names another's; or 0."""
    for level, kind, data in parts:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) == _CREDENTIALS.size:
            return int(_CREDENTIALS.unpack(data)[0])
    return 0
