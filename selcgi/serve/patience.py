"""How a large body is taken off the web server while its script reads it: in larger pieces, and not ahead of it.

Decides how much is read at once, and when nothing is, for a moment, as long as the script has taken something since
the last time. So one that reads nearly as fast as its body comes needs no disk, and one that does not read has the web
server wait once. However slow it is, some is read after each pause.
Must not read or write anything. Used by serve/session.py, one for each connection.
"""

import asyncio
from collections.abc import Callable, Mapping

from selcgi.serve.exchange import Exchange
from selcgi.serve.splicing import WIDE

_AT_ONCE = 65536  # bytes: one record
_MUCH = WIDE - _AT_ONCE  # with what may be here of a record already, no more than a roomy body keeps in memory
_SECONDS = 0.1


class Patience:
    """`resume` is called when a pause is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resume: Callable[[], None]) -> None:
        self._loop = loop
        self._resume = resume
        self._timer: asyncio.TimerHandle | None = None
        self._taken = -1  # bytes, of what was kept, when the last pause began
        self.at_once = _AT_ONCE  # bytes that may be read

    def waits(self, exchanges: Mapping[int, Exchange]) -> bool:
        """Whether nothing is to be read for now. Only for one request, so that no other waits for its script."""
        if len(exchanges) != 1:
            self.at_once = _AT_ONCE
            return False
        (exchange,) = exchanges.values()
        body = exchange.body
        self.at_once = _MUCH if body.roomy else _AT_ONCE
        if not body.kept:
            self._taken = -1
        elif self._timer is None and body.taken != self._taken:
            self._taken = body.taken
            body.on_taken = self.end
            self._timer = self._loop.call_later(_SECONDS, self.end)
        return self._timer is not None

    def end(self) -> None:
        """Resume, if it waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._resume()
