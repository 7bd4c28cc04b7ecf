"""The limits of this process itself, which is about to become a request's: rlimits and niceness.

Decides that whatever the kernel refuses is an OSError. Must not decide on a limit. Used by launch/child.py before an
exec, and by zygote/birth.py before a warm start.
"""

import errno
import os
import resource

Rlimits = tuple[tuple[int, tuple[int, int]], ...]
LIMITS_FIX = "a limit of the rule is refused by setrlimit(2) or setpriority(2)"


def limit_self(rlimits: Rlimits, nice: int | None) -> None:
    """Niceness is never lowered. OSError."""
    try:
        for which, pair in rlimits:
            resource.setrlimit(which, pair)
    except ValueError as error:  # what `resource` makes of EINVAL and EPERM
        raise OSError(errno.EPERM if "not allowed" in str(error) else errno.EINVAL, str(error)) from error
    if nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
