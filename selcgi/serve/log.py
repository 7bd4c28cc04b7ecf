"""Where log lines go and how they are written: stderr or a file, text or JSON, one line each.

Decides that a log which can't be written stops no request: the lines that were lost are counted, and told once it
works again. A file is opened anew by reopen(), after rotation. On stderr that is the journal's, each line begins with
its level (sd-daemon(3)). Must not decide what is worth a line. Set up by cli/serve.py, reopened by serve/supervisor.py
and serve/worker.py.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

from selcgi.errors import StartRefused
from selcgi.settings import Settings

LOG = logging.getLogger("selcgi")
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


class Lines(logging.Formatter):
    """A record as one line. In JSON a record's `fields` stand for its message, which is the text of them."""

    def __init__(self, as_json: bool, journal: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = self._json(record) if self._as_json else self._text(record)
        return f"<{_PRIORITY.get(record.levelno, 6)}>{text}" if self._journal else text

    def _text(self, record: logging.LogRecord) -> str:
        return f"{record.levelname} {self._message(record)}"

    def _json(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", None) or {"message": self._message(record)}
        return json.dumps({"time": utc(record.created), "level": record.levelname.lower()} | fields)

    def _message(self, record: logging.LogRecord) -> str:
        """A traceback, which only a bug brings, stays on the line."""
        text = record.getMessage()
        return f"{text}: {self.formatException(record.exc_info)!a}" if record.exc_info else text


class _Counting:
    """Mixed into a handler: what it can't write is counted, never raised."""

    lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.lost:
            lost, self.lost = self.lost, 0
            text = "%d lines before this one could not be written to the log"
            super().emit(logging.LogRecord(LOG.name, logging.WARNING, __file__, 0, text, (lost,), None))  # type: ignore[misc]
            if self.lost:
                self.lost += lost
                return
        super().emit(record)  # type: ignore[misc]

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        self.lost += 1


class StderrHandler(_Counting, logging.StreamHandler[IO[str]]):
    """stderr, as the service manager gave it."""


class FileHandler(_Counting, logging.FileHandler):
    """--log-file. Once closed it opens its file anew with the next line."""


def set_up(settings: Settings) -> None:
    """All lines of this process and of those that it forks. StartRefused when the file can't be opened."""
    handler: StderrHandler | FileHandler
    if settings.log_file is None:
        handler = StderrHandler(sys.stderr)
        handler.setFormatter(Lines(settings.log_json, _is_journal(sys.stderr.fileno())))
    else:
        handler = _open(settings.log_file)
        handler.setFormatter(Lines(settings.log_json))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())


def reopen() -> None:
    """After rotation: the old file is let go of."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, FileHandler):
            handler.close()


def utc(seconds: float) -> str:
    """ISO 8601 with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _open(path: Path) -> FileHandler:
    try:
        return FileHandler(path, encoding="utf-8")
    except OSError as error:
        fix = "set --log-file to a place that selcgi may write"
        raise StartRefused(f"cannot open the log {path}: {error.strerror}", fix) from error


def _is_journal(fd: int) -> bool:
    """systemd.exec(5), JOURNAL_STREAM: device and inode of what is connected to the journal."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
