"""The start of a process that needs more than posix_spawn(3) can do: hard limits, niceness, or another account.

Decides nothing: it does the last steps in the forked child, in the order of steps.STEPS, and reports the one that
failed. Must not touch what it shares with its parent, the event loop above all. Used by launch/spawn.py.
"""

import os
import resource
from typing import NamedTuple, NoReturn

from selcgi.errors import LaunchFailed, launch_failed
from selcgi.plan import Account, Limits
from selcgi.system.leaves import CGROUP_FIX
from selcgi.system.ownlimits import LIMITS_FIX, Rlimits, limit_self
from selcgi.system.posixspawn import Image
from selcgi.system.processes import quiet_fork

_REPORT_BYTES = 64


class Changes(NamedTuple):
    """What the child does to itself. `members`: cgroup.procs of its leaf, open for writing; -1: none to enter."""

    members: int
    rlimits: Rlimits
    nice: int | None
    account: Account | None


def fork_and_exec(image: Image, changes: Changes) -> int:
    """Pid of the child, which has executed `image`. OSError from the exec itself, LaunchFailed from a step before."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = quiet_fork()
            if pid == 0:
                _become(image, changes, write_end)
        finally:
            os.close(write_end)
        report = os.read(read_end, _REPORT_BYTES)  # end of file: the exec has closed the child's end
    finally:
        os.close(read_end)
    if report:
        os.waitpid(pid, 0)
        _raise(report, changes)
    return pid


def _become(image: Image, changes: Changes, report: int) -> NoReturn:
    step, number = "exec", 0
    try:
        os.setsid()
        for target, source in enumerate(image.streams):
            os.dup2(source if source >= 0 else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), target)
        if changes.members >= 0:
            step = "enter_leaf"
            os.write(changes.members, b"0")
        step = "enter_directory"
        os.fchdir(image.directory)
        step = "set_limits"
        limit_self(changes.rlimits, changes.nice)
        step = "set_account"
        if changes.account is not None:
            _switch(changes.account)
        step = "exec"
        os.execve(image.path, image.argv, image.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        number = error.errno or 0
    finally:
        try:
            os.write(report, f"{step} {number}".encode())
        finally:
            os._exit(127)  # without a report, too: no frame of the parent may go on here


def _switch(account: Account) -> None:
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def _raise(report: bytes, changes: Changes) -> NoReturn:
    name, number = report.decode().split()
    error = OSError(int(number), os.strerror(int(number)))
    if name == "exec" and error.errno:
        raise error
    if not error.errno:
        raise LaunchFailed(name, f"{name} failed: internal error")
    what = f"{name} failed"
    if name == "set_account" and changes.account is not None:
        what = f"selcgi can't become the Unix user {changes.account.name}"
    raise launch_failed(name, what, error, _FIX.get(name, ""))


_FIX = {
    "set_account": "uid= and --script-user need CAP_SETUID and CAP_SETGID: contrib/systemd/script-user.conf",
    "set_limits": LIMITS_FIX,
    "enter_leaf": CGROUP_FIX,
}


def to_rlimits(limits: Limits) -> Rlimits:
    """For setrlimit(2). CPU time ends by SIGXCPU, a second later by SIGKILL; the others are hard at once."""
    wanted = (
        (resource.RLIMIT_AS, limits.memory_bytes, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds, 1),
        (resource.RLIMIT_NPROC, limits.processes, 0),
        (resource.RLIMIT_NOFILE, limits.open_files, 0),
        (resource.RLIMIT_FSIZE, limits.file_bytes, 0),
    )
    return tuple((which, _pair(which, value, more)) for which, value, more in wanted if value is not None)


def _pair(which: int, value: int, more: int) -> tuple[int, int]:
    """Never above what selcgi itself may: raising a hard limit would fail."""
    hard = resource.getrlimit(which)[1]
    if hard == resource.RLIM_INFINITY:
        return value, value + more
    return min(value, hard), min(value + more, hard)
