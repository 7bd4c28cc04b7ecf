"""Where a process comes from, while it is there: its ancestors, its session, its cgroup.

Decides nothing, but never looks above `ends`: there are processes that selcgi may not look at, and to try is a refusal
of its own. Asked at once when a record names a process, since it may end at any moment, and nothing is known then.
Bounded, so that a deep tree costs no more than a shallow one. Used by serve/denials.py and system/leaves.py.
"""

import os
from dataclasses import dataclass

_DEEPEST = 16  # ancestors looked at


@dataclass(frozen=True, slots=True)
class Lineage:
    """`pids`: the process, its session's leader, and its ancestors, the nearest first; `cgroup` is its path."""

    pids: tuple[int, ...]
    cgroup: str


def lineage(pid: int, ends: frozenset[int]) -> Lineage | None:
    """None when it has ended, or may not be looked at. Ancestors up to one of `ends`, which is not looked at itself."""
    path, found = cgroup_of(pid), _parents(pid, ends)
    return Lineage(found, path) if found else None


def cgroup_of(pid: int) -> str:
    """Its path in cgroup v2; empty when it has ended, or may not be looked at."""
    return next((line[3:] for line in _read(pid, "cgroup").splitlines() if line.startswith("0::")), "")


def _parents(pid: int, ends: frozenset[int]) -> tuple[int, ...]:
    found: list[int] = []
    for _ in range(_DEEPEST):
        parent, session = _stat(pid)
        if not parent and not session:
            break
        found += [pid, session]
        if parent <= 1 or parent in ends:
            break
        pid = parent
    return tuple(dict.fromkeys(filter(None, found)))


def _stat(pid: int) -> tuple[int, int]:
    """Parent and session: fields 4 and 6 of proc_pid_stat(5), behind a name that may hold anything."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[1]), int(fields[3])) if len(fields) > 3 else (0, 0)


def _read(pid: int, name: str) -> str:
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode("utf-8", "replace")
    except OSError:  # it has ended meanwhile
        return ""
    finally:
        os.close(descriptor)
