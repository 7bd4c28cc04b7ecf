"""What a script wrote to stderr: to the web server's error log and to ours, a bounded part of it.

Decides how much is kept; a flood is counted, not stored. Used by serve/relay.py.
"""

import logging

from selcgi.serve.exchange import Exchange

LOG = logging.getLogger("selcgi")
_LINE = 1000  # bytes of a line in our log


class StderrLog:
    """Forwards and logs the first `limit` bytes of a request's stderr, line by line."""

    def __init__(self, exchange: Exchange, request: str, limit: int) -> None:
        self._exchange = exchange
        self._request = request
        self._left = limit
        self._dropped = 0
        self._line = b""

    def feed(self, data: bytes) -> None:
        self._exchange.stderr.feed(data)
        kept = data[: self._left]
        self._left -= len(kept)
        self._dropped += len(data) - len(kept)
        if kept:
            self._exchange.write_stderr(kept)
            *lines, self._line = (self._line + kept).split(b"\n")
            for line in lines:
                self._log(line)

    def close(self) -> None:
        if self._line:
            self._log(self._line)
            self._line = b""
        if self._dropped:
            LOG.warning("stderr id=%s %d more bytes were dropped", self._request, self._dropped)

    def _log(self, line: bytes) -> None:
        text = line[:_LINE].decode("utf-8", "replace")
        LOG.info("stderr id=%s %a", self._request, text, extra={"fields": {"id": self._request, "stderr": text}})
