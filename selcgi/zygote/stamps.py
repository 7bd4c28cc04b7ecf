"""Which files a zygote has loaded, and whether one of them is another by now.

Decides that a zygote is stale: its children would run code that is on no disk any more. What was read as data at a
module's own level (a template, a configuration file) is not seen: touch the script then. Must not load anything.
Called by zygote/main.py, about once a second: a stat(2) for each file.
"""

import os
import sys
import time
from collections.abc import Iterator

Stamp = tuple[int, int, int, int]
_SECOND = 10**9
_TICK = _SECOND // 50  # by which a file's time may be behind, and a process's start: each is that of a tick


class Stamps:
    """The files of the modules that are loaded now, and `more`."""

    def __init__(self, since: int, more: tuple[str, ...] = ()) -> None:
        """`since`: before the first of them was read, as of time.time_ns(). One that was changed later may have been
        loaded as it was before."""
        self._stamps = {path: _stamp(path) for path in sorted({*_files(), *more})}
        now = time.time_ns()
        late = (path for path, stamp in self._stamps.items() if stamp is not None and since <= stamp[-1] <= now)
        self._late = next(late, "")

    def changed(self) -> str:
        """The first that is changed, gone, or there again; empty when all are what they were."""
        return self._late or next((path for path, stamp in self._stamps.items() if _stamp(path) != stamp), "")


def process_start() -> int:
    """When this process began, or a moment earlier, as of time.time_ns() (proc_pid_stat(5), starttime)."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * _SECOND // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - age - _TICK


def _files() -> Iterator[str]:
    """A module in an archive has no file but that."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})  # some answer every question about what is not in it
        for file in (names.get("__file__"), getattr(names.get("__loader__"), "archive", None)):
            if isinstance(file, str):
                yield file


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - hundreds of them a second
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
