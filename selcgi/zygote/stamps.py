"""Which files a zygote has loaded, and whether one of them is another by now.

Decides that a zygote is stale: its children would run code that is on no disk any more. What was read as data at a
module's own level (a template, a configuration file) is not seen: touch the script then. Must not load anything.
Called by zygote/main.py, about once a second: a stat(2) for each file.
"""

import os
import sys

Stamp = tuple[int, int, int, int]


class Stamps:
    """The files of the modules that are loaded now, and `more`."""

    def __init__(self, more: tuple[str, ...] = ()) -> None:
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        found = {path: _stamp(path) for path in (*filter(None, files), *more)}
        self._stamps = {path: stamp for path, stamp in sorted(found.items()) if stamp is not None}

    def changed(self) -> str:
        """The first that is changed or gone; empty when all are what they were."""
        return next((path for path, stamp in self._stamps.items() if _stamp(path) != stamp), "")


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - hundreds of them a second
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
