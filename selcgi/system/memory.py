"""What a process has of memory for itself, as the kernel counts it.

Decides nothing. Called by serve/control.py for each warm interpreter, when somebody asks for the status.
"""

import os
from io import FileIO

_PRIVATE = ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")
_KIB = 1024
_PAGE = 4096


def private_bytes(pid: int) -> int | None:
    """Of its pages those that no other process maps; a forked child shares them for as long as it is there. None when
    that can't be read: it is gone, or another Unix user's. /proc/PID/smaps_rollup, proc(5)."""
    try:
        descriptor = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
        with FileIO(descriptor) as file:  # open() would ask whether it is a terminal, which the policy need not allow
            lines = file.read(_PAGE).decode("ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(_PRIVATE)]
    return sum(found) * _KIB if found else None
