"""A user's folder and all beneath it: their levels, set or compared.

Decides that nothing outside is touched, while a script of that user may be moving things inside: each file is opened by
its name in an open folder, never through a link, and on the folder's own file system; a file that has a name outside,
too, is refused, since a script may link what is everybody's into its folder. Must not know whose folder it is.
Called by cli/categories.py, as root and outside selcgi's own domain, which may relabel nothing.
"""

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from selcgi.context import Context
from selcgi.errors import RegistryFailed
from selcgi.system.labelling import Labelling

DEPTH = 200  # folders inside one another, each of them open
AS_ROOT = "as root: python -m selcgi categories .., by the python that selcgi is installed with"
_SEVERAL_MOST = 100_000  # files with more than one name
_XATTR = "security.selinux"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))  # or exchanged: it is not what it was a moment ago


@dataclass(frozen=True, slots=True)
class Odd:
    """Something beneath a user's folder that is not at his level. `level` is empty when it could not be looked at."""

    path: Path
    level: str
    why: str


def set_level(folder: Path, level: str, record: Callable[[], object] = lambda: None) -> int:
    """Give the folder and all beneath it this level, and nothing else of a label; how many were changed. `record` is
    called before the first change, so that one that breaks off is on record.

    RegistryFailed at the first that can't be. Nothing is changed where a file has names outside the folder.
    """
    names = _several_names(folder)
    record()
    changed = 0
    for descriptor, path in _beneath(folder):
        if descriptor < 0:
            raise RegistryFailed(f"{path} lies more than {DEPTH} folders deep", "move it up, or take it away")
        before = _label(descriptor, path)
        if before.range != level:
            _check_names(descriptor, path, names)
            _set_label(descriptor, path, replace(before, range=level))
            changed += 1
    return changed


def _several_names(folder: Path) -> Counter[int]:
    """How many names the folder has for each file with more than one, by inode."""
    found: Counter[int] = Counter()
    for descriptor, path in _beneath(folder):
        if descriptor >= 0 and _links(descriptor) > 1:
            found[os.fstat(descriptor).st_ino] += 1
            if len(found) > _SEVERAL_MOST:
                raise RegistryFailed(f"{path}: more than {_SEVERAL_MOST} files have several names", "copy some of them")
    for descriptor, path in _beneath(folder):
        if descriptor >= 0:
            _check_names(descriptor, path, found)
    return found


def _links(descriptor: int) -> int:
    """1 for a folder, which has no second name."""
    status = os.fstat(descriptor)
    return 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink


def _check_names(descriptor: int, path: Path, names: Mapping[int, int]) -> None:
    """Asked once more just before the label is set: a script may go on linking."""
    if _links(descriptor) > max(1, names.get(os.fstat(descriptor).st_ino, 0)):
        reason = f"{path} has another name outside of the folder, so it may be somebody else's, too"
        raise RegistryFailed(reason, "look for it (find -inum), and put a copy in its place")


def odd_levels(folder: Path, level: str) -> Iterator[Odd]:
    """What is at another level than this, the folder itself included."""
    if not folder.is_dir():
        yield Odd(folder, "", "is no folder any more")
        return
    for descriptor, path in _beneath(folder):
        if descriptor < 0:
            yield Odd(path, "", f"lies more than {DEPTH} folders deep, and was not looked at")
        elif (found := _label(descriptor, path).range) != level:
            yield Odd(path, found, f"is at {found}")


def relabelled(folder: Path, level: str, labelling: Labelling) -> Odd | None:
    """What the next relabel would make of the folder, when that is another level."""
    label = labelling.expected(str(folder), stat.S_IFDIR)
    found = Context.parse(label).range if label else ""
    return Odd(folder, found, f"gets {found} by the next relabel") if found and found != level else None


def type_of(folder: Path) -> str:
    descriptor = _open_folder(folder)
    try:
        return _label(descriptor, folder).domain
    finally:
        os.close(descriptor)


def lasting(folder: Path, level: str) -> tuple[str, ...]:
    """The words of the command that tells the policy's file contexts of it; -m in place of -a where it knows the path.

    A path of theirs is a regular expression without blanks.
    """
    pattern = "".join("." if one.isspace() else one for one in re.escape(str(folder)).replace(r"\ ", " "))
    return ("semanage", "fcontext", "-a", "-t", type_of(folder), "-r", level, f"{pattern}(/.*)?")


def _beneath(folder: Path) -> Iterator[tuple[int, Path]]:
    """An open descriptor of each, for the moment, and its path; -1 for a folder that lies too deep."""
    top = _open_folder(folder)
    device = os.fstat(top).st_dev
    open_now = [(top, folder, os.scandir(top))]
    try:
        yield top, folder
        while open_now:
            descriptor, path, entries = open_now[-1]
            entry = next(entries, None)
            if entry is None:
                open_now.pop()
                entries.close()
                os.close(descriptor)
                continue
            inner = path / entry.name
            found = _open(entry.name, descriptor, device)
            if found is None:
                continue
            is_folder = stat.S_ISDIR(os.fstat(found).st_mode)
            if is_folder and len(open_now) < DEPTH:
                open_now.append((found, inner, os.scandir(found)))
                yield found, inner
                continue
            try:
                yield found, inner
            finally:
                os.close(found)
            if is_folder:
                yield -1, inner
    finally:
        for descriptor, _, entries in open_now:
            entries.close()
            os.close(descriptor)


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, _FOLDER)
    except OSError as error:
        raise RegistryFailed(f"{folder} is no folder that can be opened: {error.strerror}", AS_ROOT) from None


def _open(name: str, folder: int, device: int) -> int | None:
    """A folder for reading, anything else as O_PATH; None when it is gone, or of another file system."""
    try:
        descriptor = os.open(name, _ANY, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if status.st_dev != device:
                return None
            if stat.S_ISDIR(status.st_mode):
                return os.open(".", _FOLDER, dir_fd=descriptor)
            return os.dup(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise RegistryFailed(f"{name!a} can't be opened: {error.strerror}", AS_ROOT) from None


def _label(descriptor: int, path: Path) -> Context:
    try:
        value = os.getxattr(f"/proc/self/fd/{descriptor}", _XATTR)
        return Context.parse(value.decode("ascii", "replace").rstrip("\0"))
    except (OSError, ValueError) as error:
        reason = f"the label of {path} can't be read: {getattr(error, 'strerror', '') or error}"
        raise RegistryFailed(reason, f"is SELinux on, and the file system one with labels? {AS_ROOT}") from None


def _set_label(descriptor: int, path: Path, label: Context) -> None:
    try:
        os.setxattr(f"/proc/self/fd/{descriptor}", _XATTR, f"{label}\0".encode())
    except OSError as error:
        raise RegistryFailed(f"{path} can't get the label {label}: {error.strerror}", AS_ROOT) from None
