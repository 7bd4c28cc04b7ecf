"""What /proc says of the thread that runs this: the exec context that the kernel has for it, and its privileges.

Decides nothing, and remembers nothing of what it read. Must not set anything: that is selinux.py's. Called by it, and
by serve/preflight.py.
"""

import os
from functools import lru_cache


def exec_attribute() -> str:
    """What the kernel has, not what libselinux remembers (getexeccon answers from its cache). On the main thread."""
    return os.pread(_exec_attribute_of(os.getpid()), 4096, 0).rstrip(b"\0\n").decode()


@lru_cache(maxsize=1)
def _exec_attribute_of(pid: int) -> int:  # noqa: ARG001 - a fork needs one of its own
    """Open as long as the process lives; each read asks the kernel anew (proc_pid_attr_read, fs/proc/base.c)."""
    return os.open("/proc/thread-self/attr/exec", os.O_RDONLY | os.O_CLOEXEC)


def no_new_privileges() -> bool:
    """Of this process, and so of all that it starts."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return any(line.split() == ["NoNewPrivs:", "1"] for line in status)
