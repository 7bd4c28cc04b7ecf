"""One file on its way to execve(2): may selcgi run it, could somebody else exchange it, and who says no to it.

Decides about the script itself and about the interpreter that its first line names, with every folder and link on the
way there. A refusal names the mode where the mode is the cause, and the label where the mode would have allowed it.
Must not find scripts: that is scripts.py. Called by it and by roots.py; whoever wants the first line asks here, too.
"""

import errno
import os
import re
import shlex
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from selcgi.errors import ScriptRefused
from selcgi.plan import Account
from selcgi.system.mapfile import folder_objection, objection, shown

LabelOf = Callable[[int], str]  # of a descriptor, O_PATH or not; empty when there is none or it can't be read
Refusal = tuple[str, str]  # reason and fix

HEAD_BYTES = 256  # of a file that the kernel looks at: BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h
AUDIT = "look for denials: ausearch -m avc -ts recent"
# fs/binfmt_script.c: blanks, then the interpreter up to a blank, a newline or a NUL, then one argument, without the
# blanks around it. 127 bytes of an interpreter pass in every kernel.
_FIRST_LINE = re.compile(rb"#![ \t]*(/[^ \t\n\0]{0,126})(?=[ \t\n\0])[ \t]*([^\n\0]*)")
_LINKS = 40  # MAXSYMLINKS, include/linux/namei.h
_SLASH = ord("/")
_BITS = {"read": 4, "execute": 1, "search": 1}


class FirstLine(NamedTuple):
    """Of a script: the interpreter's absolute path, and the one argument that it gets before the script's."""

    interpreter: bytes
    argument: bytes


def read_first_line(head: bytes) -> FirstLine | None:
    """`head` is the first HEAD_BYTES of a file. None where they name no interpreter so that any kernel
    finds it."""
    found = _FIRST_LINE.match(head if len(head) == HEAD_BYTES else head + b"\0")
    return FirstLine(found[1], found[2].rstrip(b" \t")) if found else None


def check_file(
    handle: bytes | str, path: bytes, status: os.stat_result, owners: frozenset[int], labels: LabelOf
) -> None:
    """A regular file that only `owners` can change and selcgi may execute, or ScriptRefused."""
    if bad := objection(status, path, owners):
        raise ScriptRefused(*bad)
    # As execve(2) would see it, by uid, ACL, SELinux and mount: a noexec mount is EACCES for access(2) too.
    if stat.S_ISREG(status.st_mode) and os.access(handle, os.X_OK, effective_ids=True):
        return
    text = shown(path)
    if not stat.S_ISREG(status.st_mode):
        raise ScriptRefused(f"{text} is no regular file", "name a file")
    if os.statvfs(handle).f_flag & os.ST_NOEXEC:
        raise ScriptRefused(f"{text} lies on a file system that is mounted noexec", "mount it with exec, or move it")
    raise ScriptRefused(*not_allowed("execute", path, status, _label_at(handle, labels)))


def find_interpreter(head: bytes, text: str, owners: frozenset[int], labels: LabelOf) -> bytes:
    """What "#!" names, checked like the script itself; empty for a binary. `text` is the script for the reader."""
    if not head.startswith(b"#!"):
        return b""
    named = read_first_line(head)
    if named is None:
        reason = f"the first line of {text} names no interpreter by an absolute path of at most 127 bytes"
        raise ScriptRefused(reason, "write #!/usr/bin/env python3 or the like")
    check_interpreter(named.interpreter, text, owners, labels)
    return named.interpreter


def check_interpreter(path: bytes, text: str, owners: frozenset[int], labels: LabelOf) -> None:
    """That `path`, which the script `text` names, is there and only `owners` can change it, or ScriptRefused."""
    try:
        _check_interpreter(path, owners, labels, int(time.monotonic()))
    except PermissionError as error:
        reason = f"{shown(path)}, the interpreter of {text}, is out of reach: {error}"
        raise ScriptRefused(reason, f"let selcgi's user search its folders, or restorecon them; {AUDIT}") from None
    except OSError as error:
        fix = "its line ends in CR LF: save it with LF" if path.endswith(b"\r") else "install it, or name another"
        raise ScriptRefused(f"{shown(path)}, the interpreter of {text}: {error.strerror}", fix) from None


@lru_cache(maxsize=64)
def _check_interpreter(path: bytes, owners: frozenset[int], labels: LabelOf, second: int) -> None:  # noqa: ARG001
    """As check_interpreter(), and OSError. A dozen system calls, so what was found good is so for the rest of its
    `second`: meanwhile only one of `owners` could make it wrong, and the kernel asks for itself whether it may run."""
    resolved = _walk(path, owners)
    check_file(resolved, resolved, os.stat(resolved), owners, labels)  # noqa: PTH116 - bytes


def _walk(path: bytes, owners: frozenset[int]) -> bytes:
    """Where the absolute `path` leads, by the links of today. OSError. ScriptRefused when somebody outside `owners`
    could exchange a folder or a link on the way."""
    at, status, links = b"", os.lstat(b"/"), 0
    ahead = path.split(b"/")[::-1]
    while ahead:
        name = ahead.pop()
        if name in (b"", b"."):
            continue
        if bad := folder_objection(status, at or b"/", owners):
            raise ScriptRefused(*bad)
        here = at.rpartition(b"/")[0] if name == b".." else at + b"/" + name
        found = os.lstat(here or b"/")
        if not stat.S_ISLNK(found.st_mode):
            at, status = here, found
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if bad := objection(found, here, owners, 0):
            raise ScriptRefused(*bad)
        target = os.readlink(here)  # noqa: PTH115 - bytes
        ahead += target.split(b"/")[::-1]
        if target.startswith(b"/"):
            at, status = b"", os.lstat(b"/")
    return at


def not_allowed(what: str, path: bytes, status: os.stat_result, label: str) -> Refusal:
    """Why selcgi may not "read", "execute" or "search" it. An ACL shows in the mode as its mask only."""
    text = shown(path)
    reason = f"selcgi may not {what} {text} (mode {stat.S_IMODE(status.st_mode):04o}, label {label or 'unknown'})"
    if not _mode_allows(what, status, os.geteuid(), (os.getegid(), *os.getgroups())):
        return reason, f"chmod a+{'r' if what == 'read' else 'x'} {shlex.quote(text)}"
    if not label:
        return f"{reason}, though its mode allows it", "see its ACL (getfacl) and the log of other security modules"
    kind = "dir" if stat.S_ISDIR(status.st_mode) else "file"
    return f"{reason}: its mode allows it, the policy lacks {kind} {{ {what} }}", relabel(text)


def closed_to(account: Account, path: bytes, wanted: tuple[str, ...] = ("execute",)) -> Refusal | None:
    """The first folder on the way to `path` that `account` may not search, or the file, by their modes. None: it is
    not they."""
    folders = [path[:end] or b"/" for end, byte in enumerate(path) if byte == _SLASH]
    for each, what in (*((folder, "search") for folder in folders), *((path, one) for one in wanted)):
        try:
            status = os.stat(each)  # noqa: PTH116 - bytes
        except OSError:
            return None
        if not _mode_allows(what, status, account.uid, (account.gid, *account.groups)):
            text = shown(each)
            reason = f"the Unix user {account.name} may not {what} {text} (mode {stat.S_IMODE(status.st_mode):04o})"
            move = ", or move the scripts to where everybody may enter" if what == "search" else ""
            return reason, f"chmod a+{'r' if what == 'read' else 'x'} {shlex.quote(text)}{move}"
    return None


def not_looked_at(path: bytes, folder_label: str) -> Refusal:
    """Why fstat(2) was refused: no mode does that, so it was SELinux, and then the label can't be read either."""
    text = shown(path)
    known = f"label unknown, that of its folder is {folder_label or 'unknown'}"
    return f"selcgi may not look at {text} ({known}): the policy lacks getattr", relabel(text)


def relabel(text: str) -> str:
    return f"restorecon -F {shlex.quote(text)}, or give its place a label in the policy (semanage fcontext); {AUDIT}"


def _mode_allows(what: str, status: os.stat_result, uid: int, groups: tuple[int, ...]) -> bool:
    mode = status.st_mode
    if uid == 0:  # capabilities(7), CAP_DAC_OVERRIDE
        return what != "execute" or bool(mode & 0o111)
    shift = 6 if uid == status.st_uid else 3 if status.st_gid in groups else 0
    return bool(mode >> shift & _BITS[what])


def _label_at(handle: bytes | str, labels: LabelOf) -> str:
    try:
        descriptor = os.open(handle, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return labels(descriptor)
    finally:
        os.close(descriptor)
