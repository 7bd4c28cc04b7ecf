"""The registry of categories: one file, to which every process that gives a number to a user appends a line.

Decides that a number is given once: under flock(2), to disk before it is used, and read by the others only when its
writer is done. What a crash has left of a last line was never used, and the next writer takes it off; any other damage
is refused. Must not wait for the lock longer than `patience`. Used by serve/categories.py and cli/categories.py.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import comb
from pathlib import Path

from selcgi.context import Band
from selcgi.errors import Overloaded, RegistryFailed
from selcgi.system.ledger import (
    MAGIC,
    Broken,
    Kind,
    Ledger,
    Record,
    band_of,
    check_name,
    head_line,
    line_of,
    record_of,
    seems_whole,
)
from selcgi.system.mapfile import check_folders, objection, own_owners

NAME_BYTES = 256  # as of REMOTE_USER
_MOST_BYTES = 64 << 20
_OPENED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_APPEND
_FORBIDDEN = 0o137  # of a file of mode 600 or 640
_PAUSE = 0.01
_BY_COMMAND = "run selcgi categories as its owner, or as root with: python -m selcgi categories"
_MISSING = "make its folder, which is selcgi's user's: install -d -o selcgi -g selcgi -m 750 /var/lib/selcgi"


class Registry:
    """One process's view of the file. `patience`: seconds that a call may wait for another process's lock."""

    def __init__(self, path: Path, band: Band, patience: float = 5.0) -> None:
        """Reads all of it, and makes it where there is none. RegistryFailed or StartRefused when it can't be had."""
        self.path, self.band, self.patience = path, band, patience
        self._owners = own_owners()
        if os.geteuid() == 0:  # an administrator, whose selcgi owns the folder
            self._owners |= {_status(path.parent).st_uid}
        check_folders(path, self._owners)
        self._start_anew()
        if not _is_there(path):
            with self._locked(writing=True) as file:
                self._read_on(file, writing=True)
        self._look()

    def _start_anew(self) -> None:
        self.ledger = Ledger()
        self._read_bytes = self._lines = 0
        self._seen: tuple[int, int, int] | None = None  # device, inode and size when it was read last

    @property
    def capacity(self) -> int:
        return comb(len(self.band), 2)

    def number(self, name: str) -> int | None:
        """The user's, None when there is none yet. Overloaded while another process writes."""
        self._look()
        return self.ledger.numbers.get(name)

    def assign(self, name: str, reuse: int | None = None) -> int:
        """The user's number, a new one if there is none: the next, or one that was released. It is on disk then."""
        check_name(name, NAME_BYTES)
        with self._locked(writing=True) as file:
            self._read_on(file, writing=True)
            if name not in self.ledger.numbers:
                self._append(file, Record("assigned", self._free(reuse), _now(), name))
            return self.ledger.numbers[name]

    def release(self, name: str) -> int:
        """The number that the user had. Nobody gets it but by assign(reuse=)."""
        return self._about(name, "released")

    def label(self, name: str, folder: str) -> int:
        """Write down that `folder` carries the user's categories; the user's number."""
        return self._about(name, "folder", folder)

    def _about(self, name: str, kind: Kind, folder: str = "") -> int:
        with self._locked(writing=True) as file:
            self._read_on(file, writing=True)
            if name not in self.ledger.numbers:
                raise RegistryFailed(f"{name!r} has no categories", "selcgi categories list")
            number = self.ledger.numbers[name]
            self._append(file, Record(kind, number, _now(), name, folder))
            return number

    def records(self) -> Iterator[Record]:
        """Every line, the oldest first."""
        with self._locked(writing=False) as file:
            data = os.pread(file, self._read_bytes, 0)
        return (record_of(line) for line in data.split(b"\n")[1:-1])

    def _free(self, reuse: int | None) -> int:
        if reuse is not None and reuse not in self.ledger.released:
            raise RegistryFailed(f"the number {reuse} is not released", "selcgi categories list --all")
        number = self.ledger.next if reuse is None else reuse
        if number >= self.capacity:
            reason = f"all {self.capacity} pairs of {self.band} are given to users, of {self.path}"
            raise RegistryFailed(reason, "release users that are gone and assign their numbers with --reuse")
        return number

    def _look(self) -> None:
        """Read what others have appended, if they have."""
        status = _status(self.path)
        if (status.st_dev, status.st_ino, status.st_size) != self._seen:
            with self._locked(writing=False) as file:
                self._read_on(file, writing=False)

    @contextmanager
    def _locked(self, writing: bool) -> Iterator[int]:
        """The open file, which nobody else writes meanwhile, or reads if it is for writing."""
        file = self._open(writing)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise RegistryFailed(f"{self.path} is no regular file", "name a file")
            if found := objection(status, bytes(self.path), self._owners, _FORBIDDEN):
                raise RegistryFailed(*found)
            self._lock(file, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
            yield file
        finally:
            os.close(file)

    def _open(self, writing: bool) -> int:
        try:
            if not writing:
                return os.open(self.path, _OPENED | os.O_RDONLY)
            if not _is_there(self.path):
                with suppress(FileExistsError):  # made by another process meanwhile, or laid there for us to give away
                    return self._create()
            return os.open(self.path, _OPENED | os.O_RDWR)
        except OSError as error:
            what = "written" if writing else "read"
            raise RegistryFailed(f"{self.path} can't be {what}: {error.strerror}", _BY_COMMAND) from None

    def _create(self) -> int:
        """Made by root, it is the folder owner's, so that selcgi can go on with it."""
        file = os.open(self.path, _OPENED | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.geteuid() == 0:
                status = os.fstat(folder)
                os.fchown(file, status.st_uid, status.st_gid)
            os.fsync(folder)
        finally:
            os.close(folder)
        return file

    def _lock(self, file: int, how: int) -> None:
        end = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    reason = f"another process has {self.path} locked"
                    raise Overloaded(reason, f"who is it? fuser -v {self.path}", limit="categories") from None
                time.sleep(_PAUSE)
            else:
                return

    def _read_on(self, file: int, writing: bool) -> None:
        """Take in the lines that are new. A writer puts the end of the file in order first."""
        status = os.fstat(file)
        if self._seen is not None and (status.st_dev, status.st_ino) != self._seen[:2]:
            raise RegistryFailed(
                f"{self.path} is another file than it was", "see which one is right, and reload selcgi"
            )
        if status.st_size < self._read_bytes:
            raise RegistryFailed(f"{self.path} is shorter than it was", "restore it, and start selcgi again")
        if status.st_size > _MOST_BYTES:
            raise RegistryFailed(f"{self.path} is longer than {_MOST_BYTES} bytes", "is it the right file?")
        data = _read(file, self._read_bytes, status.st_size)
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take(line)
        if writing and (rest or not self._lines):
            self._mend(file, rest)
            status = os.fstat(file)
        self._seen = (status.st_dev, status.st_ino, status.st_size)

    def _take(self, line: bytes) -> None:
        try:
            if self._lines:
                self.ledger.add(record_of(line))
            elif (band := band_of(line)) != self.band:
                reason = f"{self.path} gives out pairs of {band}, not of {self.band}"
                raise RegistryFailed(reason, f"--user-categories {band}; users would change their categories")
        except Broken as error:
            reason = f"{self.path}:{self._lines + 1}: the line is damaged: {error}"
            raise RegistryFailed(reason, "restore the file from a copy; no user gets categories meanwhile") from None
        self._lines += 1
        self._read_bytes += len(line) + 1

    def _mend(self, file: int, rest: bytes) -> None:
        """`rest` is what a crash has left of the last line, which nobody has read, or all of it but its end."""
        if not self._lines and not (head_line(self.band).startswith(rest) or rest.startswith(MAGIC)):
            raise RegistryFailed(f"{self.path} is no registry of selcgi", "name another file; a new one is made")
        if self._lines and seems_whole(rest):  # a crash just before its end, or an editor that writes none
            self._take(rest)
            _put(file, b"\n", self.path)
            return
        os.ftruncate(file, self._read_bytes)
        if not self._lines:
            _put(file, head_line(self.band), self.path)
            self._take(head_line(self.band)[:-1])

    def _append(self, file: int, record: Record) -> None:
        _put(file, line_of(record), self.path)
        self._take(line_of(record)[:-1])
        status = os.fstat(file)
        self._seen = (status.st_dev, status.st_ino, status.st_size)


def recorded_band(path: Path) -> Band | None:
    """That of the registry there; None when there is none yet, or nothing that is one."""
    try:
        file = os.open(path, _OPENED | os.O_RDONLY)
    except OSError:
        return None
    try:
        return band_of(os.read(file, 4096).partition(b"\n")[0])
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)


def _put(file: int, data: bytes, path: Path) -> None:
    """At the end and on disk, or not at all."""
    before = os.fstat(file).st_size
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError as error:
        os.ftruncate(file, before)
        raise RegistryFailed(f"{path} can't be written: {error.strerror}", "see the disk") from None


def _read(file: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end and (piece := os.pread(file, end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        pass  # who goes on to open it will say why
    return True


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        fix = _MISSING if error.errno == errno.ENOENT else _BY_COMMAND
        raise RegistryFailed(f"{path} can't be looked at: {error.strerror}", fix) from None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
