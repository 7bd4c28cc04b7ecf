"""One request as its connection sees it: params and body come in here, the answer goes out.

Decides nothing: it couples serve/request.py and serve/relay.py to a connection that may be gone at any moment; after
that every write is dropped. Made by serve/session.py, one for each RequestBegan.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from selcgi.errors import SelcgiError
from selcgi.serve.accesslog import Entry
from selcgi.serve.body import Body
from selcgi.serve.poller import Poller
from selcgi.serve.rounds import Rounds
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings

Pairs = tuple[tuple[bytes, bytes], ...]
_BEGINNING_BYTES = 1024


class Connected(Protocol):
    """What an exchange needs of its session. `blocked`: more waits to be sent than selcgi wants to keep."""

    listener: ListenerSettings
    tcp: bool
    poller: Poller
    conduit: Conduit
    rounds: Rounds

    @property
    def blocked(self) -> bool: ...
    def write(self, wire_id: int, data: bytes) -> None: ...
    def splice(self, wire_id: int, pipe: int, most: int) -> int: ...
    def write_stderr(self, wire_id: int, data: bytes) -> None: ...
    def end(self, wire_id: int, app_status: int, last: bytes) -> None: ...
    def break_off(self, wire_id: int) -> None: ...


class Beginning:
    """The first KB of what a script writes, for the record of a failure."""

    data = b""

    def feed(self, data: bytes) -> None:
        if len(self.data) < _BEGINNING_BYTES:
            self.data += data[: _BEGINNING_BYTES - len(self.data)]


def _nothing() -> None:
    return None


class Exchange:
    """`on_input` is called when the body grew, ended, failed, or the client left; `on_output` when bytes were taken."""

    refused: SelcgiError | None = None  # before it was looked at: unreadable params, too many requests
    takes_stderr = True  # the web server, as FCGI_STDERR
    why_gone = "the client left"
    aborted = False  # by FCGI_ABORT_REQUEST or a lost connection: nobody waits for an answer
    unsent = False  # not all of what was written had been taken by then
    processes_gone = True  # of its script; unlike what it holds, what it was lent must wait for that
    bytes_out = 0
    on_input: Callable[[], None] = staticmethod(_nothing)
    on_output: Callable[[], None] = staticmethod(_nothing)
    _last = b""

    def __init__(self, session: Connected, wire_id: int, pairs: Pairs, body: Body) -> None:
        self.pairs = pairs
        self.body = body
        self.listener = session.listener
        self.tcp = session.tcp
        self.poller, self.conduit, self.rounds = session.poller, session.conduit, session.rounds
        self.entry = Entry(listener=session.listener.address)
        self.stdout, self.stderr = Beginning(), Beginning()
        self._session: Connected | None = session
        self._wire_id = wire_id

    @property
    def blocked(self) -> bool:
        return self._session is not None and self._session.blocked

    async def input_until(self, done: Callable[[], bool], idle_seconds: float) -> None:
        """Until that, or the client has left. TimeoutError when nothing came for so long."""
        news = asyncio.Event()
        self.on_input = news.set
        try:
            while not (done() or self.aborted):
                news.clear()
                await asyncio.wait_for(news.wait(), idle_seconds)
        finally:
            self.on_input = _nothing

    def write(self, data: bytes) -> None:
        """Bytes of the response, its head first."""
        self.bytes_out += len(data)
        if self._session is not None and not self.aborted:
            self._session.write(self._wire_id, data)

    def splice(self, pipe: int, most: int) -> int:
        """Up to `most` bytes of the response straight out of `pipe`: how many. 0 when they must be read and written."""
        if self._session is None or self.aborted:
            return 0
        size = self._session.splice(self._wire_id, pipe, most)
        self.bytes_out += size
        return size

    def write_last(self, data: bytes) -> None:
        """The rest of the response, which may wait for flush() or end(), so that both take one packet."""
        self.bytes_out += len(data)
        self._last += data

    def flush(self) -> None:
        last, self._last = self._last, b""
        if last and self._session is not None and not self.aborted:
            self._session.write(self._wire_id, last)

    def write_stderr(self, data: bytes) -> None:
        """Bytes for the web server's error log."""
        if self._session is not None and not self.aborted and self.takes_stderr:
            self._session.write_stderr(self._wire_id, data)

    def end(self, app_status: int) -> None:
        """The response is complete."""
        session, self._session = self._session, None
        if session is not None:
            session.end(self._wire_id, app_status, b"" if self.aborted else self._last)

    def break_off(self) -> None:
        """The response can't be completed: the web server must not take it for a whole one."""
        if self.aborted:
            self.end(1)  # it waits for no more than that
            return
        self.flush()
        session, self._session = self._session, None
        if session is not None:
            session.break_off(self._wire_id)

    def abort(self, *, unsent: bool) -> None:
        """The client left."""
        self.aborted, self.unsent = True, unsent
        self.on_input()

    def disconnected(self, why: str, *, unsent: bool) -> None:
        """The connection is no more."""
        self._session = None
        self.why_gone = why
        self.abort(unsent=unsent)
