"""Where log lines go and how they are written: stderr or a file, text or JSON, one line each.

Decides that a log which can't be written stops no request: the lines that were lost are counted, and told once it
works again. A file is opened anew by reopen(), after rotation; where that fails the old one is kept. On stderr that
is the journal's, each line begins with its level (sd-daemon(3)). Must not decide what is worth a line. Set up by
cli/serve.py, reopened by serve/supervisor.py and serve/worker.py.
"""

import json
import logging
import os
import select
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from selcgi.errors import StartRefused
from selcgi.settings import Settings
from selcgi.system.processes import occupy_standard_streams

LOG = logging.getLogger("selcgi")
_STDERR = 2
_PATIENCE_MS = 200  # with a pipe that is full
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


class Line(Protocol):
    """What one line says: as text, and as fields. `selinux` is one of them."""

    @property
    def selinux(self) -> str: ...
    def fields(self) -> dict[str, Any]: ...


class Lines(logging.Formatter):
    """A record as one line. In JSON a record's `fields` stand for its message, which is the text of them."""

    def __init__(self, as_json: bool, journal: bool = False) -> None:
        super().__init__()
        self.note = ""  # "off" or "permissive-ok": the protection that this run does not have, for every line
        self._as_json = as_json
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        message = self._message(record)
        if self._as_json:
            return self._whole(
                record.levelno, self._json(record.levelno, record.created, fields or {"message": message})
            )
        note = f" selinux={self.note}" if self.note and "selinux" not in fields else ""
        return self._whole(record.levelno, f"{record.levelname} {message}{note}")

    def format_line(self, level: int, line: Line) -> str:
        """As format() of a record with it."""
        if self._as_json:
            return self._whole(level, self._json(level, time.time(), line.fields()))
        note = f" selinux={self.note}" if self.note and not line.selinux else ""
        return self._whole(level, f"{logging.getLevelName(level)} {line}{note}")

    def _whole(self, level: int, text: str) -> str:
        return f"<{_PRIORITY.get(level, 6)}>{text}" if self._journal else text

    def _json(self, level: int, when: float, fields: dict[str, Any]) -> str:
        shared = {"time": utc(when), "level": logging.getLevelName(level).lower()}
        return json.dumps(shared | fields | ({"selinux": self.note} if self.note else {}))

    def _message(self, record: logging.LogRecord) -> str:
        """A traceback, which only a bug brings, stays on the line."""
        text = record.getMessage()
        return f"{text}: {self.formatException(record.exc_info)!a}" if record.exc_info else text


class LineHandler(logging.Handler):
    """Writes to a descriptor, a line in one write(2): lines of several processes do not mix. What can't be written is
    counted, never raised and never kept; a pipe that nobody reads is waited for once, not for each line. `path` is
    None for stderr."""

    def __init__(self, descriptor: int, path: Path | None = None) -> None:
        super().__init__()
        self.lost = 0
        self._descriptor = descriptor
        self._path = path
        self._torn = False  # the disk took a part of the last line
        self._room = _poll(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        self._emit(lambda: self.format(record))

    def write_line(self, level: int, line: Line) -> None:
        """As emit() of a record with it. On the main thread alone."""
        if isinstance(self.formatter, Lines):
            formatter = self.formatter
            self._emit(lambda: formatter.format_line(level, line))

    def _emit(self, text: Callable[[], str]) -> None:
        try:
            if self.lost:
                self._write(self.format(_loss(self.lost)))
                self.lost = 0
            self._write(text())
        except Exception:  # the disk, the reader, or a bug in a record: no request may fail of it
            self.lost += 1

    def reopen(self) -> None:
        """Take the file that has the name now. OSError: the old one is kept."""
        if self._path is not None:
            old, self._descriptor = self._descriptor, _open(self._path)
            self._room = _poll(self._descriptor)
            os.close(old)

    def close(self) -> None:
        super().close()
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, text: str) -> None:
        data = ("\n" * self._torn + text + "\n").encode(errors="backslashreplace")
        while data:
            written = os.write(self._descriptor, self._piece(data))
            data = data[written:]
            self._torn = bool(data)

    def _piece(self, data: bytes) -> bytes:
        """What is taken without blocking: a pipe that polls as writable has room for PIPE_BUF bytes (pipe(7))."""
        if self._room is None:
            return data
        if not self._room.poll(0 if self.lost else _PATIENCE_MS):
            raise BlockingIOError
        return data[: select.PIPE_BUF]


def _poll(descriptor: int) -> "select.poll | None":
    """None for a file, which never blocks."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room


def _loss(lines: int) -> logging.LogRecord:
    text = "%d lines before this one could not be written to the log"
    return logging.LogRecord(LOG.name, logging.WARNING, __file__, 0, text, (lines,), None)


def set_up(settings: Settings) -> None:
    """All lines of this process and of those that it forks. StartRefused when the file can't be opened."""
    occupy_standard_streams()  # or another file could get the number of a stderr that is closed
    path = settings.log_file
    try:
        handler = LineHandler(_STDERR if path is None else _open(path), path)
    except OSError as error:
        fix = "set --log-file to a place that selcgi may write"
        raise StartRefused(f"cannot open the log {path}: {error.strerror}", fix) from error
    handler.setFormatter(Lines(settings.log_json, path is None and _is_journal(_STDERR)))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())


def write_line(level: int, line: Line) -> None:
    """A line of which there is one for each request: past the machinery of logging, which takes longer than the line.
    Handlers that are not of this module get their record."""
    if not LOG.isEnabledFor(level):
        return
    for handler in LOG.handlers or logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.write_line(level, line)
        else:
            extra = {"fields": line.fields()}
            handler.handle(LOG.makeRecord(LOG.name, level, __file__, 0, "%s", (line,), None, extra=extra))


def mark(note: str) -> None:
    """From now on every line of this process, and of those that it forks, says what selcgi goes without."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Lines):
            handler.formatter.note = note


def reopen() -> None:
    """After rotation: the old file is let go of, if there is a new one."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            try:
                handler.reopen()
            except OSError as error:
                LOG.error("cannot open the log anew, going on with the old file: %s", error)


def utc(seconds: float) -> str:
    """ISO 8601 with milliseconds."""
    return f"{_second(int(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _is_journal(fd: int) -> bool:
    """systemd.exec(5), JOURNAL_STREAM: device and inode of what is connected to the journal."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
