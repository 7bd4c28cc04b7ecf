"""What a script wrote to stderr: to the web server's error log and to ours, a bounded part of it.

Decides how much is kept: so many bytes, so many lines, since a line costs more than its bytes. A flood is counted, not
stored; lines with nothing in them are not logged. A line that is too long for one of the log is cut there, once it is
escaped. Notes whether what is logged speaks of a refusal. Used by serve/relay.py.
"""

import logging

from selcgi.serve.exchange import Exchange
from selcgi.system.symptoms import speaks_of_refusal

LOG = logging.getLogger("selcgi")


class StderrLog:
    """Forwards and logs the first `most_bytes` of a request's stderr, line by line, and no more than `most_lines`."""

    def __init__(self, exchange: Exchange, request: str, most_bytes: int, most_lines: int) -> None:
        self._exchange = exchange
        self._request = request
        self._bytes_left = most_bytes
        self._lines_left = most_lines
        self._dropped_bytes = self._dropped_lines = 0
        self._line = b""

    def feed(self, data: bytes) -> None:
        self._exchange.stderr.feed(data)
        kept = data[: self._bytes_left]
        self._bytes_left -= len(kept)
        self._dropped_bytes += len(data) - len(kept)
        if kept:
            self._exchange.write_stderr(kept)
            *lines, self._line = (self._line + kept).split(b"\n")
            self._log([line for line in lines if line.strip()])

    def close(self) -> None:
        if self._line.strip():
            self._log([self._line])
        self._line = b""
        if self._dropped_lines:
            LOG.warning("stderr id=%s %d more lines were not logged", self._request, self._dropped_lines)
        if self._dropped_bytes:
            LOG.warning("stderr id=%s %d more bytes were dropped", self._request, self._dropped_bytes)

    def _log(self, lines: list[bytes]) -> None:
        logged = lines[: self._lines_left]
        self._lines_left -= len(logged)
        self._dropped_lines += len(lines) - len(logged)
        if any(speaks_of_refusal(line) for line in logged):
            self._exchange.entry.complained = True
        for line in logged:
            text = line.decode("utf-8", "replace")
            LOG.info("stderr id=%s %a", self._request, text, extra={"fields": {"id": self._request, "stderr": text}})
