"""Numbers lent to requests, each to one at a time on the whole machine: locks of a file that the kernel keeps.

Decides that a number stays lent as long as its request's processes may live: the lock belongs to the open file (OFD
locks, fcntl(2)), which the supervisor holds too. So the death of a worker frees nothing; free() does, when all that was
the worker's is dead. Must not wait. Opened by serve/supervisor.py for each worker before it forks, used by
serve/categories.py.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

from selcgi.errors import RegistryFailed

_FLOCK = struct.Struct("hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid
_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Leases:
    """The numbers below `count` that one worker has, by a lock on the byte of each."""

    def __init__(self, path: Path, count: int) -> None:
        """OSError when the file can't be opened or made."""
        self._path = path
        self._count = count
        self._held: set[int] = set()
        self._file = os.open(path, _OPENED, 0o600)

    def take(self) -> int | None:
        """The lowest that is free, so that the kernel, which forgets no context, sees few of them; None: all are lent.

        RegistryFailed when the kernel gives no lock at all.
        """
        for number in range(self._count):
            if number not in self._held and self._lock(fcntl.F_WRLCK, number, 1):
                self._held.add(number)
                return number
        return None

    def give_back(self, number: int) -> None:
        """No process of the request is left."""
        self._held.remove(number)
        self._lock(fcntl.F_UNLCK, number, 1)

    def free(self) -> None:
        """All of them, and close the file: by the supervisor, when nothing of the worker is left. A later fork has the
        open file, too, so to close it would not unlock it."""
        self._lock(fcntl.F_UNLCK, 0, 0)
        os.close(self._file)

    def _lock(self, kind: int, start: int, length: int) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except OSError as error:
            if error.errno == errno.EAGAIN:  # EACCES would be SELinux's answer
                return False
            raise RegistryFailed(
                f"no lock on {self._path}: {error.strerror}", "is it on a local file system?"
            ) from None
        return True
