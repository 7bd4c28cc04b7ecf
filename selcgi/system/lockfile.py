"""A lock that only selcgi's own user can hold, for the moment in which a socket is made.

Decides that the lock is a file of its own, of mode 0600, beside what it guards. flock(2) asks for a descriptor and no
more: whoever may read a folder can lock that for as long as he likes, and selcgi would never start. Must not wait.
Called by sockets.py.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selcgi.errors import StartRefused
from selcgi.system.mapfile import objection, own_owners

_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_OURS = 0o077


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time is in here for `path`; the others get StartRefused. `path` itself need not be there."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, _OPENED, 0o600)
    except OSError as error:
        raise StartRefused(f"{lock} can't be opened: {error.strerror}", "remove it") from None
    try:
        _hold(lock, descriptor)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _hold(lock: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if found := objection(status, bytes(lock), own_owners(), _NOT_OURS):
        raise StartRefused(found[0], f"remove {lock}")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = lock.lstat()
    except (BlockingIOError, FileNotFoundError):
        now = None
    # The one before us removes its file: who opened that, and locks it only now, holds nothing.
    if now is None or (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
        raise StartRefused(f"{lock} is locked by another selcgi", "is it just being started?")
