"""Processes and descriptors as the kernel shows them: wait, signal, fork without side effects, list what there is.

Decides nothing about a request. A process is waited for by its own pid only, never by "any child", except in a guard,
where every child belongs to the request. Must not know of contexts or cgroups. Used by launch/ and serve/supervisor.py.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from selcgi.plan import Exit

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2), include/uapi/linux/prctl.h
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_LIBC = ctypes.CDLL(None, use_errno=True)
_KIB = 1024
_END_SECONDS = 10.0
_STRANGERS = 512  # reaped at a time
_WATCHED = 64  # children waited for at a time, since each takes a descriptor
LOOK_AGAIN_MS = 50  # between two passes of SIGKILL when no exit is seen: a list of children may lack one
_BEYOND_EVERY_DESCRIPTOR = (1 << 31) - 1
# SIGKILL and SIGSTOP have no disposition to set (signal(7)).
# Plain numbers: each start of a script hands all of them to the kernel.
RESETTABLE = frozenset(map(int, signal.valid_signals())) - {int(signal.SIGKILL), int(signal.SIGSTOP)}


def reap(pid: int, *, wait: bool = False) -> Exit | None:
    """Take the exit of the child `pid`, None while it runs; with `wait`, block until there is one.

    ChildProcessError when it is no child of ours or was reaped before (wait4(2)).
    """
    reaped, status, usage = os.wait4(pid, 0 if wait else os.WNOHANG)
    return to_exit(status, usage) if reaped else None


def look_at(pid: int) -> os.waitid_result | None:
    """How the child has ended, without reaping it; None while it runs. ChildProcessError: it is none."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def is_child(pid: int) -> bool:
    try:
        look_at(pid)
    except ChildProcessError:
        return False
    return True


def reap_strangers(own: Collection[int]) -> None:
    """Take away the dead children of this process that are not in `own`.

    A script can make children of its parent (clone(2), CLONE_PARENT). They end with their cgroup, but nobody would
    wait for them, and each would take up a process for ever. One of `own` that is dead is left to its request, and
    ends the search: waitid(2) shows one at a time. No more than _STRANGERS of them: they may come faster than they go.
    """
    for _ in range(_STRANGERS):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, 0)


def to_exit(status: int, usage: resource.struct_rusage) -> Exit:
    """`status` and `usage` as wait4(2) gives them; ru_maxrss is in KiB (getrusage(2))."""
    code = os.waitstatus_to_exitcode(status)
    return Exit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        maxrss_bytes=usage.ru_maxrss * _KIB,
    )


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Signal the process group that the session leader `pid` leads. Only while `pid` is not reaped: then it is not
    given to another process. What may not be signalled is left to the KILL that follows."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def set_child_subreaper() -> None:
    """Orphaned descendants become children of this process (prctl(2), PR_SET_CHILD_SUBREAPER). OSError."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children() -> list[int]:
    """Children of this process, zombies included.

    proc_pid_task(5), "children": a list that changes while it is read may lack an entry, so ask again until no child
    is left. OSError when the kernel lacks it (CONFIG_PROC_CHILDREN).
    """
    own = Path("/proc/self/task")
    return [int(pid) for thread in own.iterdir() for pid in (thread / "children").read_bytes().split()]


def kill_children(spare: Collection[int] = ()) -> None:
    """One pass of SIGKILL over all children but `spare`, and the process groups that they are in.

    Children alone: only their ids can't be given to another process meanwhile. What they leave behind becomes a
    child of a subreaper, for the next pass; the groups catch what forks faster than passes are made.
    """
    own_group = os.getpgrp()
    for pid in children():
        if pid not in spare:
            group = os.getpgid(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                if group != own_group:
                    os.killpg(group, signal.SIGKILL)


def end_children(spare: Collection[int] = ()) -> bool:
    """Kill and reap all that descends from this subreaper, except the children `spare` and what is theirs.

    Blocks until it is done; False when some are still there after 10 s: they wait in the kernel. OSError.
    """
    deadline = time.monotonic() + _END_SECONDS
    while ending := [pid for pid in children() if pid not in spare]:
        if time.monotonic() > deadline:
            return False
        kill_children(spare)
        _wait_any(ending)
        for pid in ending:
            reap(pid)
    return True


def _wait_any(pids: list[int]) -> None:
    """Until one of these children has ended, or it is time for another look at who is there."""
    with contextlib.ExitStack() as held:
        ends = select.poll()
        for pid in pids[:_WATCHED]:
            pidfd = os.pidfd_open(pid)
            held.callback(os.close, pidfd)
            ends.register(pidfd, select.POLLIN)
        ends.poll(LOOK_AGAIN_MS)


def lists_children() -> bool:
    """True when the kernel has what children() reads."""
    return Path("/proc/thread-self/children").exists()


def quiet_fork() -> int:
    """os.fork(2), but nothing of the parent's signal handling reaches the child: default dispositions, empty mask.

    Signals wait while it forks: a handler that ran in the child would write into the event loop's wakeup socket,
    which it shares with its parent.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, RESETTABLE)
    try:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for signum in RESETTABLE:
                signal.signal(signum, signal.SIG_DFL)
            before = set()
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def open_descriptors() -> frozenset[int]:
    """Every descriptor of this process, without the one that lists them."""
    listed = os.listdir("/proc/self/fd")
    return frozenset(filter(_is_open, map(int, listed)))


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def close_all_but(keep: Iterable[int]) -> None:
    """Close every other descriptor from 3 on (close_range(2))."""
    low = 3
    for descriptor in sorted(keep):
        if descriptor >= low:  # os.closerange() takes an end of 0 for all that there is
            os.closerange(low, descriptor)
            low = descriptor + 1
    os.closerange(low, _BEYOND_EVERY_DESCRIPTOR)


def occupy_standard_streams() -> None:
    """Make sure that 0, 1 and 2 are open, so that no pipe gets such a number and is lost when they are replaced."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def keep_descriptors() -> None:
    """Nothing that is open now, sockets from systemd included, goes on to a program that is executed."""
    for descriptor in open_descriptors():
        if descriptor > 2:
            os.set_inheritable(descriptor, False)


def forbid_core_dumps() -> None:
    """For this process, which knows secrets, and for what it starts: a core file of a script has its user's data but
    lies where and with what mode the system says. The hard limit too: a change of domain may reset the soft one.

    One byte, not none: a core_pattern with a pipe, as of systemd-coredump, is given a dump whatever the limit is, but
    for 1 (fs/coredump.c). A file is not begun for so little. What a script can't be kept from is to set 0 itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def keep_capabilities() -> None:
    """What a unit's AmbientCapabilities= gave this process goes on to no program that it executes, whatever its user:
    capabilities(7), "Ambient". The process itself still has them. OSError."""
    if _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
