"""Where log lines go and how they are written: stderr or a file, text or JSON, one line each.

Decides that a line is written whole, in one write(2), so that nothing of another stands in it, and that what is too
long for that is cut: serve/escapes.py. A log which can't be written stops no request: the lines that were lost are
counted, and told once it works again. A file is opened anew by reopen(), after rotation; where that fails the old one
is kept. On stderr that is the journal's, each line begins with its level (sd-daemon(3)). Must not decide what is worth
a line. Set up by cli/serve.py, reopened by serve/supervisor.py and serve/worker.py.
"""

import errno
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
from selcgi.serve.escapes import LINE_BYTES, cut, escaped, fitting, words
from selcgi.settings import Settings
from selcgi.system.processes import occupy_standard_streams

LOG = logging.getLogger("selcgi")
_PATIENCE_MS = 200  # with a pipe that is full
_STREAMS = {Path("/dev/stdout"): 1, Path("/dev/stderr"): 2}  # links, and a socket of the journal can't be opened
_NO_FILE = {errno.ELOOP: "It is a symbolic link", errno.ENXIO: "It is no regular file"}  # a pipe, a socket
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


class Line(Protocol):
    """What one line says: as text, which has no need to be escaped, and as fields. `selinux` is one of them."""

    @property
    def selinux(self) -> str: ...
    def fields(self) -> dict[str, Any]: ...


class Lines(logging.Formatter):
    """A record as one line of at most LINE_BYTES, in printable ASCII whoever its texts are of. In JSON a record's
    `fields` stand for its message, which is the text of them."""

    def __init__(self, as_json: bool, journal: bool = False) -> None:
        super().__init__()
        self.note = ""  # "off" or "permissive-ok": the protection that this run does not have, for every line
        self._as_json = as_json
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        message = self._message(record)
        if self._as_json:
            return self._json(record.levelno, record.created, fields or {"message": message})
        note = self._note("selinux" not in fields)
        head = self._head(record.levelno)
        return head + cut(escaped(message), LINE_BYTES - len(head + note)) + note

    def format_line(self, level: int, line: Line) -> str:
        """As format() of a record with it; what is cut are values."""
        if self._as_json:
            return self._json(level, time.time(), line.fields())
        head, note = self._head(level), self._note(not line.selinux)
        text = f"{head}{line}{note}"
        if len(text) <= LINE_BYTES:
            return text
        return fitting(line.fields(), lambda fields: f"{head}{words(fields)}{note}")

    def _head(self, level: int) -> str:
        """In the journal, what sd-daemon(3) wants of a line."""
        priority = f"<{_PRIORITY.get(level, 6)}>" if self._journal else ""
        return priority if self._as_json else f"{priority}{logging.getLevelName(level)} "

    def _note(self, wanted: bool) -> str:
        return f" selinux={self.note}" if self.note and wanted else ""

    def _json(self, level: int, when: float, fields: dict[str, Any]) -> str:
        shared = {"time": utc(when), "level": logging.getLevelName(level).lower()}
        whole = shared | fields | ({"selinux": self.note} if self.note else {})
        text = self._head(level) + json.dumps(whole)
        if len(text) <= LINE_BYTES:
            return text
        return fitting(whole, lambda some: self._head(level) + json.dumps(some))

    def _message(self, record: logging.LogRecord) -> str:
        """A traceback, which only a bug brings, stays on the line; the error, which ends it, is told before it."""
        text = record.getMessage()
        if not record.exc_info:
            return text
        return f"{text}: {record.exc_info[1]!a}: {self.formatException(record.exc_info)!a}"


class LineHandler(logging.Handler):
    """Writes to a descriptor, a line in one write(2), and no line is longer than what is taken whole by a pipe: lines
    of several processes do not mix. What can't be written is counted, never raised and never kept; a pipe that nobody
    reads is waited for once, not for each line. `path` is None for one that is never opened anew."""

    def __init__(self, descriptor: int, lines: Lines, path: Path | None = None) -> None:
        super().__init__()
        self.setFormatter(lines)
        self.lines = lines
        self.lost = 0
        self._descriptor = descriptor
        self._path = path
        self._torn = False  # the disk took a part of the last line
        self._room = _poll(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        self._emit(lambda: self.lines.format(record))

    def write_line(self, level: int, line: Line) -> None:
        """As emit() of a record with it. On the main thread alone."""
        self._emit(lambda: self.lines.format_line(level, line))

    def _emit(self, text: Callable[[], str]) -> None:
        try:
            if self.lost:
                self._write(self.lines.format(_loss(self.lost)))
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
        """A pipe that polls as writable has room for PIPE_BUF bytes (pipe(7))."""
        if self._room is not None and not self._room.poll(0 if self.lost else _PATIENCE_MS):
            raise BlockingIOError
        data = ("\n" * self._torn + text + "\n").encode()
        self._torn = os.write(self._descriptor, data) < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, "a part of the line was taken")


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
    path = settings.log_file or Path("/dev/stderr")
    stream = _STREAMS.get(path)
    try:
        descriptor = _open(path) if stream is None else stream
    except OSError as error:
        fix = "set --log-file to a regular file in a place that selcgi may write"
        raise StartRefused(f"cannot open the log {path}: {error.strerror}", fix) from error
    lines = Lines(settings.log_json, stream is not None and _is_journal(stream))
    root = logging.getLogger()
    root.addHandler(LineHandler(descriptor, lines, path if stream is None else None))
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
        if isinstance(handler, LineHandler):
            handler.lines.note = note


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
    """A file or a device, for its owner and group alone. Never waits, as the open of a pipe does without a reader, and
    follows no link: who may write to the folder could lead selcgi, at a rotation, to where they may not write."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o640)
    except OSError as error:
        raise OSError(error.errno, _NO_FILE.get(error.errno or 0, error.strerror), str(path)) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "It is no regular file", str(path))


def _is_journal(fd: int) -> bool:
    """systemd.exec(5), JOURNAL_STREAM: device and inode of what is connected to the journal."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
