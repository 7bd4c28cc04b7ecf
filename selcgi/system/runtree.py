"""The cgroups of one `selcgi run`: a base of its own, BASE/run-PID, so that it meets neither a service nor another run.

Decides which of the bases beneath BASE nobody owns any more: one whose process is gone, since a run that is killed
can't remove its own. The next run ends what is left there. Must not touch anything else of BASE. Used by serve/once.py.
"""

import contextlib
import os
from pathlib import Path

from selcgi.errors import StartRefused
from selcgi.system.cgroups import Tree, end_cgroup, find_base
from selcgi.system.leaves import CGROUP_FIX

_NAME = "run-"


class RunTree(Tree):
    """Like a service's, one level further down."""

    def __init__(self, above: Path) -> None:
        """StartRefused when nothing can be made beneath `above`."""
        base = above / f"{_NAME}{os.getpid()}"
        _end_left(above)
        try:
            base.mkdir()
        except OSError as error:
            raise StartRefused(f"cannot make the cgroup {base}: {error.strerror}", CGROUP_FIX) from error
        try:
            super().__init__(base)
        except BaseException:
            base.rmdir()
            raise

    def remove(self) -> None:
        super().remove()
        with contextlib.suppress(OSError):
            self.path.rmdir()


def open_run_tree(mode: str) -> RunTree | None:
    """As open_tree(), for `selcgi run`."""
    above = find_base(mode)
    return None if above is None else RunTree(above)


def _end_left(above: Path) -> None:
    """What killed runs left. A number that another process has by now keeps its base until a later run."""
    for left in above.glob(f"{_NAME}*"):
        number = left.name.removeprefix(_NAME)
        if number.isdecimal() and (int(number) == os.getpid() or not _is_alive(int(number))):
            with contextlib.suppress(OSError):  # another run ends it, too
                end_cgroup(left)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # not ours to signal, but there
        pass
    return True
