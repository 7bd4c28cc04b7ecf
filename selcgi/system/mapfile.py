"""Files that selcgi believes, and the folders above them: who else could change what they say?

Decides whether anybody but root and selcgi's own user could change or exchange such a file: owner and mode of the
file and of every folder up to "/", and no symbolic link on the way. Must not know what is written in the file.
Called at start and at a reload by serve/site.py, and by identity.py, scripts.py and sockets.py for their own paths.
"""

import os
import shlex
import stat
from pathlib import Path

from selcgi.errors import StartRefused

WRITABLE = 0o022  # by group or others; an ACL that lets somebody else write shows here too, as its mask: acl(5)
_MAP_BYTES = 64 << 20
_SHOWN = 300  # characters of a path in a sentence
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def read_mapfile_bytes(path: Path) -> bytes:
    """A mapping file of at most 64 MiB, whatever is in it. StartRefused when it can't be read or trusted."""
    return read_protected(path, _MAP_BYTES)


def read_mapfile(path: Path) -> str:
    """The text of a mapping file, UTF-8. StartRefused when it is not, or can't be read or trusted."""
    data = read_mapfile_bytes(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StartRefused(f"{path}:{line}: the line is not UTF-8", "save the file as UTF-8") from None


def read_protected(path: Path, most: int, forbidden: int = WRITABLE) -> bytes:
    """At most `most` bytes of a file that root or selcgi's own user owns and that has no mode bit of `forbidden`.

    StartRefused for anything else, for a link or an unsafe folder on the way, and for a longer file.
    """
    owners = own_owners()
    path = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute() would keep a ".."
    check_folders(path, owners)
    try:
        descriptor = os.open(path, _READ)
        try:
            _check_file(os.fstat(descriptor), path, owners, forbidden)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartRefused(*_unopened(path, error)) from None
    if len(data) > most:
        raise StartRefused(f"{path} is longer than {most} bytes", "make it shorter")
    return data


def _check_file(status: os.stat_result, path: Path, owners: frozenset[int], forbidden: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StartRefused(f"{path} is no regular file", "name a file")
    if found := objection(status, bytes(path), owners, forbidden):
        raise StartRefused(*found)


def own_owners(own: int | None = None) -> frozenset[int]:
    """The uids that may own what selcgi believes: root and its own, or those of another that is asked for."""
    return frozenset((0, os.geteuid() if own is None else own))


def open_folder(path: Path, own: int | None = None) -> tuple[int, frozenset[int]]:
    """O_PATH of an absolute folder that only root, selcgi's own user and the folder's owner can change; their uids.

    StartRefused for any other, for a link, and for an unsafe folder above it. The caller closes the descriptor.
    """
    try:
        owners = own_owners(own) | {path.lstat().st_uid}
        check_folders(path, owners)
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StartRefused(*_unopened(path, error)) from None
    try:
        if found := objection(os.fstat(descriptor), bytes(path), owners):
            raise StartRefused(*found)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, owners


def check_folders(path: Path, owners: frozenset[int]) -> None:
    """Every folder above the absolute `path`, from "/" down, is one that only `owners` can change; else StartRefused.

    A sticky folder such as /tmp passes: nobody can exchange an entry of another there (unlink(2), EPERM).
    """
    if not path.is_absolute() or ".." in path.parts:
        raise StartRefused(f"{path} is not absolute, or has a '..' in it", f"write {os.path.abspath(path)}")  # noqa: PTH100
    for folder in reversed(path.parents):
        try:
            status = folder.lstat()
        except OSError as error:
            raise StartRefused(f"{folder} can't be looked at: {error.strerror}", f"is {path} right?") from None
        if stat.S_ISLNK(status.st_mode):
            raise StartRefused(f"{folder}, on the way to {path}, is a link", f"write {os.path.realpath(path)}")
        if found := folder_objection(status, bytes(folder), owners):
            raise StartRefused(*found)


def folder_objection(status: os.stat_result, path: bytes, owners: frozenset[int]) -> tuple[str, str] | None:
    """As objection(), for a folder on the way: a sticky one passes."""
    return objection(status, path, owners, 0 if status.st_mode & stat.S_ISVTX else WRITABLE)


def objection(
    status: os.stat_result, path: bytes, owners: frozenset[int], forbidden: int = WRITABLE
) -> tuple[str, str] | None:
    """Reason and fix when somebody outside `owners` could change what lies at `path`, or has a bit of `forbidden`."""
    if status.st_uid in owners and not status.st_mode & forbidden:
        return None
    mode, text = stat.S_IMODE(status.st_mode), shown(path)
    if status.st_uid not in owners:
        allowed = " or ".join(map(str, sorted(owners)))
        reason = f"{text} (mode {mode:04o}) belongs to uid {status.st_uid}, not to {allowed}"
        return reason, f"chown root {shlex.quote(text)}"
    kept = "go-w" if forbidden == WRITABLE else f"{mode & ~forbidden:04o}"
    reason = f"{text} (mode {mode:04o}, uid {status.st_uid}) is open to more than its owner"
    return reason, f"chmod {kept} {shlex.quote(text)}"


def shown(path: bytes) -> str:
    """`path` for a sentence: one line, printable, not endless."""
    text = path.decode(errors="backslashreplace")
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _unopened(path: Path, error: OSError) -> tuple[str, str]:
    if path.is_symlink():
        return f"{path} is a link", f"write {os.path.realpath(path)}"
    return f"{path} can't be opened: {error.strerror}", "is the path right, and may selcgi's user read it?"
