"""The recorder: writes the records of failed requests to a file that never grows, and reads them for people.

Decides what the file is: KEPT places of RECORD_BYTES for each kind, filled in turn, the oldest one next. Nothing is
made, renamed or synced for a record, so a flood costs the disk what the kernel writes back of a few MB now and then.
The file is its owner's only. It has a process of its own because a disk may be slow: no worker waits for it. Forked by
serve/supervisor.py; records() is called by cli/failures.py.
"""

import json
import logging
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

from selcgi.errors import StartRefused
from selcgi.serve import log
from selcgi.serve.failures import KINDS, RECORD_BYTES

LOG = logging.getLogger("selcgi")
KEPT = 64  # records of a kind
_FILE_BYTES = len(KINDS) * KEPT * RECORD_BYTES
_QUIET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Record = dict[str, Any]  # as serve/failures.py makes it


class Recorder:
    """The socket pair that all workers share, and the file behind it."""

    def __init__(self, path: Path) -> None:
        """StartRefused when the file can't be had for its owner only."""
        self._file = _open(path)
        self._lost = False  # the last record
        self._inlet, self.outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def run(self) -> None:
        """Until no worker, nor the supervisor, is left that could send: signals to end are theirs."""
        for signum in _QUIET:
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.outlet.close()
        turns = _turns(self._file)
        while line := self._inlet.recv(RECORD_BYTES):
            record = _record(line)
            if record is None:
                continue
            what = record["kind"]
            place = KINDS.index(what) * KEPT + turns[what]
            turns[what] = (turns[what] + 1) % KEPT
            self.write(line, place)

    def write(self, line: bytes, place: int) -> None:
        """A record, to its place; a full disk is no end of it."""
        try:
            os.pwrite(self._file, line.ljust(RECORD_BYTES - 1) + b"\n", place * RECORD_BYTES)
        except OSError as error:
            if not self._lost:
                LOG.warning("records of failed requests can't be written, continuing: %s", error.strerror)
            self._lost = True
        else:
            self._lost = False

    def close(self) -> None:
        os.close(self._file)
        self._inlet.close()
        self.outlet.close()


def records(path: Path) -> list[Record]:
    """All of them, the oldest first. StartRefused when the file can't be read."""
    try:
        with open(path, "rb") as file:
            found = _parse(file.read(_FILE_BYTES))
    except OSError as error:
        fix = f"is selcgi serve running, and with --failures {path}?"
        if isinstance(error, PermissionError):
            fix = "look as its user: runuser -u selcgi -- selcgi failures"
        raise StartRefused(f"{path}: {error.strerror}", fix) from error
    return sorted((record for record in found if record is not None), key=_time)


def _open(path: Path) -> int:
    fix = f"set --failures to a file in a folder that selcgi may write, or take {path} away"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(f"--failures {path}: {error.strerror}", fix) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise StartRefused(f"--failures {path} is no file of mode 0600 that belongs to selcgi's user", fix)
    if found.st_size > _FILE_BYTES:
        os.ftruncate(descriptor, _FILE_BYTES)
    return descriptor


def _turns(file: int) -> dict[str, int]:
    """Where each kind goes on: behind its newest."""
    found = _parse(os.pread(file, _FILE_BYTES, 0))
    found += [None] * (len(KINDS) * KEPT - len(found))
    turns = {}
    for number, what in enumerate(KINDS):
        times = ["" if record is None else _time(record) for record in found[number * KEPT : (number + 1) * KEPT]]
        turns[what] = (times.index(max(times)) + 1) % KEPT if any(times) else 0
    return turns


def _parse(raw: bytes) -> list[Record | None]:
    """One a place; None for one that is empty, or being written."""
    return [_record(raw[at : at + RECORD_BYTES]) for at in range(0, len(raw), RECORD_BYTES)]


def _record(raw: bytes) -> Record | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") in KINDS and "time" in found else None


def _time(record: Record) -> str:
    return str(record["time"])
