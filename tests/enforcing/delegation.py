"""A cgroup for selcgi in the guest, as systemd delegates one to its unit. Used by tests and by the demo."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.launch.conftest import hand_down

CGROUP = Path("/sys/fs/cgroup/selcgi")


def delegate() -> None:
    """What systemd does for Delegate=yes: a cgroup that belongs to the service's user, with the service in it."""
    start = CGROUP / "start"
    hand_down(CGROUP.parent)
    start.mkdir(parents=True, exist_ok=True)
    for path in (CGROUP, start):
        for name in (path, path / "cgroup.procs", path / "cgroup.subtree_control", path / "cgroup.threads"):
            shutil.chown(name, "selcgi", "selcgi")
    (start / "cgroup.procs").write_text(str(os.getpid()))


def take_back() -> None:
    """This process leaves it again."""
    Path("/sys/fs/cgroup/cgroup.procs").write_text(str(os.getpid()))


def way_options(way: str) -> list[str]:
    """Of "guard" or "cgroup"; selcgi takes a guard where nothing is delegated."""
    return [f"--cgroup={CGROUP}"] if way == "cgroup" else []


@contextmanager
def delegated() -> Iterator[str]:
    """For as long as a service runs; the option that names it."""
    delegate()
    try:
        yield f"--cgroup={CGROUP}"
    finally:
        take_back()
