"""The --root folders: opened once, at start or reload, and walked beneath by openat2(2) alone.

Decides what lies beneath which root, and that a root is still the folder that its name leads to: a folder that took
its place was never checked, and the one it displaced is not what the administrator means any more. Must not know what
a script is. Called by system/scripts.py for each request, by serve/site.py for the roots themselves.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selcgi.errors import USED_UP, Overloaded, ScriptNotFound, ScriptRefused, SelcgiError, StartRefused
from selcgi.system.executable import AUDIT, LabelOf, not_allowed, not_looked_at
from selcgi.system.mapfile import open_folder, shown

_OPENAT2 = 437  # include/uapi/asm-generic/unistd.h
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08  # include/uapi/linux/openat2.h
# struct open_how: flags, mode, resolve. With O_PATH and O_NOFOLLOW a link itself is opened, not what it points to.
_HOW = struct.pack("=QQQ", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)


@dataclass(frozen=True, slots=True)
class Root:
    """One --root. `owners` may own what lies beneath it: root, selcgi's own user, and whoever owns the root itself."""

    parts: tuple[bytes, ...]
    descriptor: int  # O_PATH, close-on-exec
    owners: frozenset[int]
    identity: tuple[int, int]  # st_dev and st_ino
    path: bytes


@dataclass(frozen=True, slots=True)
class Roots:
    """All roots, the deepest first. Owns their descriptors."""

    all: tuple[Root, ...]

    def close(self) -> None:
        for root in self.all:
            os.close(root.descriptor)


def open_roots(paths: Iterable[Path], own: int | None = None) -> Roots:
    """Check and open each root. StartRefused when one, or a folder above it, can be changed by somebody else. `own` is
    the uid of the service that is asked about, None for this process's."""
    opened: list[Root] = []
    try:
        for path in paths:
            opened.append(_open_root(path, own))
        if not opened:
            raise StartRefused("there is no root, so no script could ever run", "give --root DIR")
    except BaseException:
        Roots(tuple(opened)).close()
        raise
    return Roots(tuple(sorted(opened, key=lambda root: -len(root.parts))))


def _open_root(path: Path, own: int | None) -> Root:
    descriptor, owners = open_folder(path, own)
    try:
        entry, status = open_beneath(descriptor, b".", os.fsencode(path), _no_label)
        os.close(entry)
    except SelcgiError as error:
        os.close(descriptor)
        raise StartRefused(error.reason, "openat2(2) is needed: Linux 5.6, no RestrictSUIDSGID= of systemd") from None
    parts = tuple(map(os.fsencode, path.parts[1:]))
    return Root(parts, descriptor, owners, (status.st_dev, status.st_ino), b"/".join((b"", *parts)))


def find_root(path: bytes, roots: Roots) -> tuple[Root, bytes] | None:
    """The deepest root that `path` lies beneath, by whole components, and the path from there."""
    for root in roots.all:
        if path.startswith(root.path + b"/"):
            return root, path[len(root.path) :]
        rest = path  # or it is spelled with other slashes
        for part in root.parts:
            name, rest = next_name(rest)
            if name != part:
                break
        else:
            return root, rest
    return None


def next_name(path: bytes) -> tuple[bytes, bytes]:
    """The first component and what follows it, as it was spelled: PATH_INFO keeps its slashes."""
    name, slash, rest = path.lstrip(b"/").partition(b"/")
    return name, slash + rest


def enter(root: Root, label_of: LabelOf) -> tuple[int, os.stat_result]:
    """A descriptor of the root, to be closed, and its status. ScriptRefused when its name leads to something else by
    now; what its name leads to is asked for, so that both are of the same moment."""
    try:
        status = os.lstat(root.path)
        what = "" if (status.st_dev, status.st_ino) == root.identity else "another took its place"
    except PermissionError:  # a folder above it was closed to selcgi: launch/ says which script can't run then
        status, what = _status(root.descriptor, root.path, root.descriptor, label_of), ""
    except OSError as error:
        what = error.strerror or str(error)
    if what:
        reason = f"the root {shown(root.path)} is not the folder that was opened: {what}"
        raise ScriptRefused(reason, "reload selcgi (SIGHUP) once the new root is complete")
    return os.dup(root.descriptor), status


def open_beneath(directory: int, name: bytes, path: bytes, label_of: LabelOf) -> tuple[int, os.stat_result]:
    """O_PATH of one component and its status. `path` is for the error: ScriptNotFound, ScriptRefused, Overloaded."""
    descriptor: int = _syscall(_OPENAT2, directory, name, _HOW, len(_HOW))
    if descriptor < 0:
        number = ctypes.get_errno()
        if number == errno.EACCES:  # whatever `name` is: O_PATH asks for nothing but the folder
            folder = path if name == b"." else path.rpartition(b"/")[0]
            raise ScriptRefused(*not_allowed("search", folder, os.fstat(directory), label_of(directory)))
        raise _unopened(number, path)
    try:
        return descriptor, _status(descriptor, path, directory, label_of)
    except BaseException:
        os.close(descriptor)
        raise


def _status(descriptor: int, path: bytes, directory: int, label_of: LabelOf) -> os.stat_result:
    try:
        return os.fstat(descriptor)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise ScriptRefused(*not_looked_at(path, label_of(directory))) from None
        raise _unopened(error.errno or errno.EIO, path) from None


def _no_label(_: int) -> str:
    return ""


def _unopened(number: int, path: bytes) -> SelcgiError:
    reason = f"{shown(path)} can't be opened: {os.strerror(number)}"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return ScriptNotFound(reason)
    if number in USED_UP:
        return Overloaded(reason, USED_UP[number])
    return ScriptRefused(reason, AUDIT)
