"""From the path of a request to an opened script: beneath a root, on descriptors, with every parent checked.

Decides which file runs and whether it may: no link is followed unseen, and no parent, file or interpreter may be one
that somebody else can exchange. That is suEXEC's list without its gaps: the parents, ACLs, the mount, the interpreter,
and the time between check and use. Must not read params or ask the mapping. Each component is opened beneath the one
before it, from the root that system/roots.py opened, and what was checked stays open. Called by serve/request.py.
"""

import os
import shlex
import stat
from collections.abc import Callable
from itertools import dropwhile
from typing import NamedTuple

from selcgi.errors import USED_UP, Overloaded, ScriptNotFound, ScriptRefused, SelcgiError
from selcgi.plan import Script
from selcgi.system.executable import (
    AUDIT,
    HEAD_BYTES,
    LabelOf,
    check_file,
    find_interpreter,
    not_allowed,
)
from selcgi.system.mapfile import objection, shown
from selcgi.system.roots import Root, Roots, enter, find_root, next_name, open_beneath

_LINKS = 8  # followed for one candidate
_CANDIDATE_BYTES = 64 << 10  # with its PATH_INFO


class Located(NamedTuple):
    """A script that may run, its PATH_INFO (RFC 3875 4.1.5), its root, and the path by which it was found."""

    script: Script
    path_info: bytes
    root: Root
    named: bytes
    close: Callable[[], None]  # of what is open


class _Found(NamedTuple):
    """What a walk came to first that is no folder. Both descriptors are O_PATH and the caller's."""

    path: bytes
    rest: bytes
    directory: int
    entry: int
    status: os.stat_result


def open_script(candidates: tuple[bytes, ...], roots: Roots, label_of: LabelOf) -> Located:
    """The first of the absolute `candidates`, each with its PATH_INFO, that exists; the caller closes its script.

    ScriptRefused when it exists and may not run, or when the first candidate lies beneath no root; ScriptNotFound when
    none exists; Overloaded without a free descriptor. `label_of` gives the SELinux label of a descriptor.
    """
    absent: list[SelcgiError] = []
    for candidate in candidates:
        check_spelling(candidate)
        place = find_root(candidate, roots)
        if place is None:
            fix = "add --root if scripts there may run"
            absent.append(ScriptRefused(f"{shown(candidate)} lies beneath no root", fix))
            continue
        try:
            return _locate(candidate, place, roots, label_of)
        except ScriptNotFound as error:
            absent.append(error)
        except OSError as error:
            reason = f"{shown(candidate)} can't be looked at: {error.strerror}"
            if error.errno in USED_UP:
                raise Overloaded(reason, USED_UP[error.errno]) from None
            raise ScriptRefused(reason, AUDIT) from None
    raise absent[0] if absent else ScriptNotFound("the request names no script")


def _locate(candidate: bytes, place: tuple[Root, bytes], roots: Roots, label_of: LabelOf) -> Located:
    for _ in range(_LINKS + 1):
        root, rest = place
        found = _walk(root, rest, label_of)
        try:
            if not stat.S_ISLNK(found.status.st_mode):
                named = candidate.removesuffix(found.rest)
                script = _admit(found, root.owners, label_of)
                return Located(script, found.rest, root, named, script.close)
            place = _follow(found, roots)
        except BaseException as error:
            os.close(found.directory)
            if isinstance(error, ScriptRefused):
                error.script = found.path
            raise
        finally:
            os.close(found.entry)
        os.close(found.directory)
    raise ScriptRefused(f"{shown(found.path)} is link number {_LINKS + 1}", "point the first link at the script itself")


def check_spelling(path: bytes) -> None:
    """ScriptRefused, for what two programs could read in two ways. A web server has resolved dots before it asks."""
    dots = b"/../" in path + b"/" or b"/./" in path + b"/"
    if dots or not path.startswith(b"/") or b"\0" in path or len(path) > _CANDIDATE_BYTES:
        reason = f"the script path {shown(path)!r} is relative or too long, or has '.', '..' or a NUL in it"
        raise ScriptRefused(reason, "have the web server send SCRIPT_FILENAME absolute and resolved")


def _walk(root: Root, rest: bytes, label_of: LabelOf) -> _Found:
    """Down from the root, each folder checked before anything in it is looked at."""
    path = root.path
    directory, status = enter(root, label_of)
    try:
        while True:
            if bad := objection(status, path, root.owners):
                raise ScriptRefused(*bad)
            name, rest = next_name(rest)
            if not name:
                raise ScriptNotFound(f"{shown(path)} is a folder")
            path += b"/" + name
            entry, status = open_beneath(directory, name, path, label_of)
            if not stat.S_ISDIR(status.st_mode):
                return _Found(path, rest, directory, entry, status)
            os.close(directory)
            directory = entry
    except BaseException:
        os.close(directory)
        raise


def _follow(link: _Found, roots: Roots) -> tuple[Root, bytes]:
    """Where a link leads, as a place to start again from with every check. ScriptRefused when beneath no root."""
    # An empty path reads the link that is open, not one that has its name now: readlinkat(2).
    target = _join(link.path.rpartition(b"/")[0], os.readlink(b"", dir_fd=link.entry))
    place = find_root(target + link.rest, roots) if target else None
    if place is None:
        to = shown(target) or "a path with '..' after a name"
        fix = f"link to an absolute path beneath a root, or add --root for the folder of {to}"
        raise ScriptRefused(f"{shown(link.path)} is a link to {to}, beneath no root", fix)
    return place


def _join(folder: bytes, target: bytes) -> bytes:
    """The target of a link in `folder`, without dots; empty when a ".." follows a name.

    That name could be a link itself, and only the kernel would know where ".." leads. `folder` has no link in it.
    """
    words = [word for word in target.split(b"/") if word not in (b"", b".")]
    names = list(dropwhile(lambda word: word == b"..", words))
    if b".." in names:
        return b""
    start = [] if target.startswith(b"/") else folder.split(b"/")[1:]
    return b"/" + b"/".join(start[: max(0, len(start) - len(words) + len(names))] + names)


def _admit(found: _Found, owners: frozenset[int], label_of: LabelOf) -> Script:
    """The script, when what was found is one that may run. It then owns `found.directory`."""
    status = found.status
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        text = shown(found.path)
        raise ScriptRefused(f"{text} is setuid or setgid", f"chmod ug-s {shlex.quote(text)}")
    own = f"/proc/self/fd/{found.entry}"
    check_file(own, found.path, status, owners, label_of)
    try:
        descriptor = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise ScriptRefused(*not_allowed("read", found.path, status, label_of(found.entry))) from None
    try:
        head = os.pread(descriptor, HEAD_BYTES, 0)
        interpreter = find_interpreter(head, shown(found.path), owners, label_of) if head[:2] == b"#!" else b""
        stamp = status.st_dev, status.st_ino, status.st_ctime_ns
        return Script(found.path, descriptor, found.directory, stamp, interpreter, label_of(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
