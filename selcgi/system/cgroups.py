"""Cgroup v2 as the means to end every descendant of a request, setsid and double fork or not (cgroups(7)).

Decides where selcgi's part of the hierarchy is. BASE/supervisor holds the supervisor, BASE/worker-N/home a worker,
BASE/worker-N/leaf-K one request at a time: see leaves.py. The tree says who belongs together; what such processes may
use is held by ceilings.py. Must not launch. Used by serve/supervisor.py and system/runtree.py.
"""

import contextlib
import os
import select
import time
from pathlib import Path

from selcgi.errors import StartRefused
from selcgi.system.leaves import CGROUP_FIX, Leaves

_END_SECONDS = 10.0  # for killed processes to be gone; one that is still there waits in the kernel
_DELEGATED = ("trusted.delegate", "user.delegate")  # systemd's mark, set to 1 for Delegate=yes (systemd cgroup-setup)


class Tree:
    """Selcgi's part of the hierarchy, owned by the supervisor, which moves into it."""

    def __init__(self, base: Path) -> None:
        """StartRefused when `base` can't be used, or another selcgi does."""
        self.path = base
        self._origin = own_cgroup()
        home = base / "supervisor"
        try:
            home.mkdir(exist_ok=True)
            if _populated(home):
                raise StartRefused(f"another selcgi uses the cgroup {base}", "give each its own --cgroup")
            for left in base.glob("worker-*"):  # of a selcgi that was killed
                end_cgroup(left)
            (home / "cgroup.procs").write_bytes(b"0")
        except OSError as error:
            raise StartRefused(f"cannot set up the cgroup {base}: {error.strerror}", CGROUP_FIX) from error

    def leaves(self, number: int) -> Leaves:
        """For worker `number`, which calls this itself after the fork. StartRefused."""
        return Leaves(self.path / f"worker-{number}")

    def kill_worker(self, number: int) -> bool:
        """End whatever is left of the dead worker `number` and its requests. Blocks; False when some of it is still
        there after 10 s: it waits in the kernel, and its leaves are not used again before it is gone."""
        path = self.path / f"worker-{number}"
        return not path.exists() or end_cgroup(path)

    def remove(self) -> None:
        """Go back to where the supervisor was, and end and remove all else. Best effort, at the very end."""
        with contextlib.suppress(OSError):
            ((self._origin or self.path) / "cgroup.procs").write_bytes(b"0")
            for path in self.path.glob("worker-*"):
                end_cgroup(path)
            (self.path / "supervisor").rmdir()


def open_tree(mode: str) -> Tree | None:
    """For --cgroup `mode`: auto, none, or a path. None: requests need a guard each. StartRefused for an unfit path."""
    base = find_base(mode)
    return None if base is None else Tree(base)


def find_base(mode: str) -> Path | None:
    """What was delegated by --cgroup `mode`. StartRefused for an unfit path."""
    if mode == "none":
        return None
    if mode == "auto":
        base = own_cgroup()
        return None if base is None or not _is_delegated(base) or unfit(base) else base
    reason = unfit(Path(mode))
    if reason:
        raise StartRefused(f"--cgroup {mode}: {reason}", CGROUP_FIX)
    return Path(mode)


def own_cgroup() -> Path | None:
    """This process's cgroup v2 directory; None when no mount shows it."""
    lines = Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::/")), None)
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return None if own is None else find_directory(own, mounts)


def find_directory(own: str, mounts: list[str]) -> Path | None:
    """Where the cgroup `own`, as /proc/self/cgroup has it, is seen by one of the lines of mountinfo.

    proc_pid_mountinfo(5): field 4 is what of the hierarchy is mounted, field 5 where, the type comes after " - ".
    """
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after.split(" ")[0] != "cgroup2" or len(fields) < 5:
            continue
        root, point = (_unescaped(field) for field in fields[3:5])
        if own == root or own.startswith(root.rstrip("/") + "/"):
            return Path(point) / own[len(root) :].lstrip("/")
    return None


def unfit(path: Path) -> str:
    """Why `path` can't be selcgi's base, empty when it can."""
    if not (path / "cgroup.procs").exists():
        return "is no cgroup v2 directory"
    if not (path / "cgroup.events").exists():
        return "is the root of the hierarchy, which can't be delegated"
    if not (path / "cgroup.kill").exists():
        return "has no cgroup.kill (Linux 5.14 and later)"
    if not (os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)):
        return "is not writable for selcgi"
    return "has no supervisor of its own" if (path / "cgroup.type").read_text().strip() != "domain" else ""


def _is_delegated(path: Path) -> bool:
    """Given to us on purpose: marked so by systemd, or owned by our user. Root could write to any, so must be told."""
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return os.geteuid() != 0 and path.stat().st_uid == os.geteuid()


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _populated(path: Path) -> bool:
    return "populated 1" in (path / "cgroup.events").read_text()


def end_cgroup(path: Path) -> bool:
    """Kill all below `path`, wait until nothing is left, remove it. False when something stays; OSError."""
    (path / "cgroup.kill").write_bytes(b"1")
    if not _is_emptied(path):
        return False
    for below in sorted((each for each in path.rglob("*") if each.is_dir()), reverse=True):
        below.rmdir()
    path.rmdir()
    return True


def _is_emptied(path: Path) -> bool:
    deadline = time.monotonic() + _END_SECONDS
    with (path / "cgroup.events").open("rb", buffering=0) as events:
        change = select.poll()
        change.register(events, select.POLLPRI)
        while b"populated 1" in os.pread(events.fileno(), 256, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            change.poll(left * 1000)
    return True
