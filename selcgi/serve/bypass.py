"""The way of a large answer past selcgi: out of the script's pipe, into the web server's socket, unread.

Decides when it is taken: after the head, while the script writes more than one read takes, and never past what the
script has promised. Whatever is not so is left to be read, one turn at a time. Must not move a byte itself.
Used by serve/relay.py, one for each request.
"""

from selcgi.serve.answer import Answer
from selcgi.serve.exchange import Exchange

_MUCH = 16384  # bytes; for less, a read and a write cost no more than a splice(2) in, a header and a splice out
_RECORDS = 8  # of one turn, so that other requests have theirs


class Bypass:
    """Of the script's stdout, `pipe`, which is the caller's to close, after close()."""

    def __init__(self, exchange: Exchange, answer: Answer, pipe: int) -> None:
        self._exchange = exchange
        self._answer = answer
        self._pipe = pipe
        self._open = False

    def had_a_piece(self) -> None:
        """A whole one was read at once: there is more than is read."""
        self._open = True
        self._exchange.conduit.widen(self._pipe)

    def take(self) -> int:
        """Hand on what the pipe holds: how many bytes. 0 when it must be read."""
        if not self._open:
            return 0
        total = 0
        for _ in range(_RECORDS):
            size = self._exchange.splice(self._pipe, self._answer.passable)
            self._answer.passed(size)
            total += size
            if size < _MUCH:
                break
        self._open = total >= _MUCH
        return total

    def close(self) -> None:
        self._exchange.conduit.forget(self._pipe)
