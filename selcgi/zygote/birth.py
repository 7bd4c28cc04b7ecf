"""The birth of a request's process in a zygote: a clone that is the worker's own child, and what it does to itself.

Decides the order, which is the security argument: born in its cgroup; everything that is not its own closed; session,
streams, folder and limits as a fresh start has them; then its context, read back; only then is it the script's. Must
not run a line of the script. Called by zygote/main.py.
"""

import ctypes
import os
import socket
from types import ModuleType
from typing import NamedTuple

from selcgi.errors import LaunchFailed
from selcgi.system.current import enter_context
from selcgi.system.ownlimits import LIMITS_FIX, limit_self
from selcgi.system.processes import close_all_but
from selcgi.zygote import trampolines
from selcgi.zygote.frames import BORN, STUCK, Job, decode_job, encode_report, length_of_job

_CLONE_PARENT, _CLEARTID, _SETTID = 0x8000, 0x00200000, 0x01000000  # include/uapi/linux/sched.h
_CLONE_INTO_CGROUP = 0x200000000
_SYS_CLONE3 = 435  # one number on every architecture (include/uapi/asm-generic/unistd.h)
_PR_SET_NAME, _PR_GET_TID_ADDRESS = 15, 40  # prctl(2)
# Made while there is memory: RLIMIT_AS counts all that the zygote has mapped.
_NO_MEMORY = encode_report(
    STUCK,
    "set_limits",
    "no memory is left for the warm interpreter's child: what its zygote has loaded counts",
    "raise memory= in the rule, or leave warm= out of it",
)
_FIELDS = "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup"
# PyDLL: the interpreter's lock is held throughout, as os.fork() holds it.
_PYTHON = ctypes.PyDLL(None)
_LIBC = ctypes.PyDLL(None, use_errno=True)


class _CloneArguments(ctypes.Structure):
    """struct clone_args of include/uapi/linux/sched.h, its second version."""

    _fields_ = [(name, ctypes.c_uint64) for name in _FIELDS.split()]


class Belongings(NamedTuple):
    """Descriptors that a request's message brings, in this order. `cgroup` is the last: a child never has it, and -1
    says that the worker puts the child where it belongs."""

    stdin: int
    stdout: int
    stderr: int
    directory: int
    script: int
    channel: int
    cgroup: int = -1


def clone_for(cgroup: int) -> int:
    """As os.fork(), but the child is born in the directory `cgroup` (-1: where this process is), and is a child of
    this process's parent, which waits for it: CLONE_PARENT of clone(2). OSError.

    glibc has no such fork. Done here is what else belongs to one: Python's own part, with what os.register_at_fork()
    was given, by its public functions; and the thread's id, of which glibc keeps a copy (set_tid_address(2)). Not done:
    the locks of malloc and stdio are not taken, and need not be, since nobody but the one thread could hold them; and
    the handlers of pthread_atfork(3) are not run. Who relies on them for more than locks has in the child the state of
    the zygote: what is known of that is in zygote/seeds.py, and contrib/WARM.md says the rest.
    """
    address = ctypes.c_uint64()
    keeps_id = _LIBC.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0
    flags = _CLONE_PARENT | (_CLONE_INTO_CGROUP if cgroup >= 0 else 0) | ((_SETTID | _CLEARTID) if keeps_id else 0)
    arguments = _CloneArguments(flags=flags, child_tid=address.value, cgroup=max(cgroup, 0))
    _PYTHON.PyOS_BeforeFork()
    pid = _LIBC.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if pid == 0:
        _PYTHON.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    _PYTHON.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return int(pid)


def become(belongings: Belongings, binding: ModuleType | None, kept: tuple[int, ...] = ()) -> Job | None:
    """In the child: everything that makes it the request's process. None when it must end: its worker has been told
    why, or has given the request up. The channel is closed when this returns. `kept`: of trampolines.find()."""
    try:
        channel = socket.socket(fileno=belongings.channel)
    except OSError:  # a hook for forks, of what is preloaded, has moved it elsewhere
        return None
    try:
        channel.sendall(encode_report(BORN))
        close_all_but((*belongings[:6], *kept))
        os.setsid()
        _take(belongings)
        data = _read_job(channel)
        if not data:
            return None
        job = _move(decode_job(data), binding)
        trampolines.renew(kept)
        return job
    except LaunchFailed as error:
        _report(channel, encode_report(STUCK, error.step, error.reason, error.fix))
    except MemoryError:
        _report(channel, _NO_MEMORY)
    except (OSError, ValueError) as error:
        _report(channel, encode_report(STUCK, "zygote", f"a warm interpreter's child failed: {error}", ""))
    finally:
        channel.close()
    return None


def _take(belongings: Belongings) -> None:
    for target, source in enumerate(belongings[:3]):
        os.dup2(source, target)
        os.close(source)
    os.fchdir(belongings.directory)
    os.close(belongings.directory)


def _read_job(channel: socket.socket) -> bytes:
    """Empty when the worker has given the request up: what is not whole is not begun."""
    data = b""
    while (length := length_of_job(data)) is None or len(data) < 4 + length:
        piece = channel.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def _move(job: Job, binding: ModuleType | None) -> Job:
    """The name and limits as a fresh start has them, then the context: in it, no limit could be changed any more."""
    _LIBC.prctl(_PR_SET_NAME, os.path.basename(job.argv[0]), 0, 0, 0)  # noqa: PTH119 - the kernel cuts it, as execve(2)
    try:
        limit_self(job.rlimits, job.nice)
    except OSError as error:
        raise LaunchFailed("set_limits", f"set_limits failed: {error.strerror}", LIMITS_FIX) from error
    if job.context:
        if binding is None:
            raise LaunchFailed("enter_context", "the warm interpreter has no binding of libselinux")
        enter_context(binding, job.context)
    return job


def _report(channel: socket.socket, report: bytes) -> None:
    """A worker that is gone, or a context that may not write to it, needs none: the worker looks for itself."""
    try:
        channel.sendall(report)
    except OSError:
        return
