"""Scripts that were asked for a moment ago: kept open, so that the next request for one need not find it anew.

Decides whether what scripts.py has found and checked is still so: while the root, each folder beneath it on the way and
the file are what they were by device, inode and time of their last change, which no one can set back (ctime of
inode(7)). A mode, an owner, an ACL, a label and an entry of a folder can't change without it. What a mount's options
and the policy allow can: that is asked each time. The interpreter's file lies elsewhere: executable.py looks at it once
a second. Must not admit anything by itself. One for each Site in each worker; called by serve/request.py, and by
serve/worker.py when some time has passed.
"""

import os
import time
from collections.abc import Iterator

from selcgi.errors import ScriptRefused
from selcgi.system.executable import LabelOf, check_interpreter
from selcgi.system.mapfile import shown
from selcgi.system.roots import Roots
from selcgi.system.scripts import Located, check_spelling, open_script

MOST = 32  # of a worker, two descriptors each
# A change in the same tick of the kernel's clock gives the same time (coarse times of file systems, at most 10 ms; FAT
# has two seconds): what changed just now is not kept.
_SETTLED_NS = 3_000_000_000

_Stamp = tuple[bytes, tuple[int, int, int]]


class _Kept:
    """One of them. Its descriptors stay open while a request uses them, whatever becomes of it here."""

    def __init__(self, located: Located, stamps: tuple[_Stamp, ...]) -> None:
        self.located = located._replace(path_info=b"", close=self.release)  # that is a request's, not the script's
        self.fresh = True  # asked for since the last look
        self._stamps = stamps
        self._script = located.script
        self._users = 1
        self._dropped = False

    @property
    def holds(self) -> bool:
        """Nothing on the way to it has changed."""
        try:
            for path, stamp in self._stamps:
                if _stamp(path) != stamp:
                    return False
        except OSError:
            return False
        return True

    def may_run(self, label_of: LabelOf) -> bool:
        """What check_file() asks of a file that has not changed, and its interpreter. By its path: what is open here
        may lie beneath another mount by now."""
        script = self._script
        if not os.access(script.path, os.R_OK | os.X_OK, effective_ids=True):
            return False
        if script.interpreter:
            try:
                check_interpreter(script.interpreter, shown(script.path), self.located.root.owners, label_of)
            except ScriptRefused:
                return False
        return True

    def use(self) -> Located:
        self._users += 1
        self.fresh = True
        return self.located

    def release(self) -> None:
        self._users -= 1
        self._close_unused()

    def drop(self) -> None:
        self._dropped = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._dropped and not self._users:
            self._script.close()


class Familiar:
    """Owns the descriptors of what it keeps."""

    def __init__(self, roots: Roots, label_of: LabelOf) -> None:
        self._roots, self._label_of = roots, label_of
        self._kept: dict[bytes, _Kept] = {}

    def open(self, candidates: tuple[bytes, ...]) -> Located:
        """As open_script() of scripts.py; `close` of what it returns in place of that of its script."""
        first, path = candidates[0], candidates[-1]
        kept = self._kept.get(path)
        if kept is None:
            return self._find(candidates)
        rest = first[len(path) :]  # a file has nothing beneath it: this is PATH_INFO, wherever else it might lie
        if first != path + rest or rest[:1] not in (b"", b"/"):
            return self._find(candidates)
        if not (kept.holds and kept.may_run(self._label_of)):
            self._kept.pop(path).drop()
            return self._find(candidates)  # which says why, if it is refused now
        if not rest:
            return kept.use()
        check_spelling(first)
        return kept.use()._replace(path_info=rest)

    def forget(self, located: Located) -> None:
        """The next request for this one looks anew."""
        if kept := self._kept.pop(located.script.path, None):
            kept.drop()

    def age(self) -> None:
        """Let go of what nobody has asked for since the last call."""
        for path, kept in list(self._kept.items()):
            if kept.fresh:
                kept.fresh = False
            else:
                self._kept.pop(path).drop()

    def close(self) -> None:
        while self._kept:
            self._kept.popitem()[1].drop()

    def _find(self, candidates: tuple[bytes, ...]) -> Located:
        before = time.time_ns() - _SETTLED_NS
        located = open_script(candidates, self._roots, self._label_of)
        path = located.script.path
        if path != candidates[-1] or located.named != path or path in self._kept:
            return located  # by a link, or by a candidate that may lead elsewhere tomorrow
        stamps = _settled(located, before)
        if not stamps:
            return located
        while len(self._kept) >= MOST:
            self._kept.pop(next(iter(self._kept))).drop()
        kept = self._kept[path] = _Kept(located, stamps)
        return kept.located._replace(path_info=located.path_info)


def _settled(located: Located, before: int) -> tuple[_Stamp, ...]:
    """The stamps of all that was looked at, if nothing of it has changed since `before`; else none."""
    script = located.script
    try:
        stamps = tuple((path, _stamp(path)) for path in _way(located))
    except OSError:
        return ()
    root, file = stamps[0][1], stamps[-1][1]
    same = root[:2] == located.root.identity and file == script.stamp
    return stamps if same and all(stamp[2] < before for _, stamp in stamps) else ()


def _way(located: Located) -> Iterator[bytes]:
    """The root, the folders beneath it, the script."""
    path, at = located.script.path, len(located.root.path)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)
    yield path


def _stamp(path: bytes) -> tuple[int, int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_ctime_ns
