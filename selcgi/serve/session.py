"""One connection of a web server: bytes of the socket to events of wire/connection.py and back.

Decides when the socket is read, written and closed. The body is read at once, whatever the script does (nginx and
Caddy need that); what can't be sent is kept up to a bound that `blocked` tells. A connection that shall close is
half-closed and read on until the peer stops, else a reset could overtake the answer. Must not know what a request
means. Made by serve/worker.py; it hands each request to its owner as an Exchange.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from selcgi.errors import ConnectionLost, SelcgiError, unexpected
from selcgi.serve.body import Body
from selcgi.serve.exchange import Exchange
from selcgi.serve.intake import Intake
from selcgi.serve.patience import Patience
from selcgi.serve.poller import Poller, attempt
from selcgi.serve.rounds import Rounds
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings
from selcgi.wire.connection import (
    NO_RECORD,
    BodyChunk,
    BodyEnded,
    Connection,
    Event,
    RequestAborted,
    RequestBegan,
    RequestMalformed,
)
from selcgi.wire.records import LONGEST

_LINGER_SECONDS = 2.0  # for the peer to close after our last byte, or to begin a request while selcgi drains
_UNTAKEN = 4  # times output_bytes that may wait to be sent before nothing more is read
_LINGER_BYTES = 1 << 20  # of late input that are read and thrown away meanwhile


class Owner(Protocol):
    """The worker, as its sessions see it."""

    loop: asyncio.AbstractEventLoop
    poller: Poller
    settings: Settings
    conduit: Conduit
    rounds: Rounds

    def body(self) -> Body: ...
    def began(self, exchange: Exchange) -> None: ...
    def closed(self, session: "Session") -> None: ...
    def failed(self, listener: ListenerSettings, error: SelcgiError) -> None: ...


class Session:
    """Owns the socket. Idle and stalled sessions are closed by sweep()."""

    def __init__(self, owner: Owner, sock: socket.socket, listener: ListenerSettings) -> None:
        self.listener = listener
        self.tcp = sock.family != socket.AF_UNIX
        self._owner = owner
        self._sock = sock
        self._connection = Connection(owner.settings.wire)
        self._exchanges: dict[int, Exchange] = {}
        self._keep: dict[int, bool] = {}
        self._unended: set[int] = set()  # requests whose answers broke off while others used the connection
        self._out = bytearray()
        self._since = owner.loop.time()  # when it last had nothing to do, or last sent a byte
        self._closing = self._answered = self._broken = self._lingering = False
        self._takes_until = 0.0  # a request of the last moment, while it drains
        self._late_bytes = 0
        self._patience = Patience(owner.loop, self._read_on)
        self._pieces: dict[Exchange, list[bytes]] = {}  # of bodies, and not with them yet
        self._intake: Intake | None = None  # for a body that is large
        self.poller, self.conduit, self.rounds = owner.poller, owner.conduit, owner.rounds
        self._read_on()
        attempt(self._readable, self._failed)

    @property
    def blocked(self) -> bool:
        return len(self._out) >= self._owner.settings.output_bytes

    @property
    def idle(self) -> bool:
        return not self._exchanges and not self._out

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def write(self, wire_id: int, data: bytes) -> None:
        self._send(self._connection.stdout(wire_id, data))

    def splice(self, wire_id: int, pipe: int, most: int) -> int:
        """Send what `pipe` holds as one record, unread: how many bytes. 0 when it must be read and written."""
        if self._out or self.closed:
            return 0
        size = self.conduit.fill(pipe, min(most, LONGEST))
        if size:
            header = self._connection.stdout_header(wire_id, size)
            # Of a record that breaks off, the next would be the rest: then the connection ends.
            attempt(lambda: self._wait(self.conduit.forward(header, size, self._sock)), self._failed)
        return size

    def write_stderr(self, wire_id: int, data: bytes) -> None:
        self._send(self._connection.stderr(wire_id, data))

    def end(self, wire_id: int, app_status: int, last: bytes) -> None:
        """The answer is complete with `last`; the connection stays if the web server wants it."""
        del self._exchanges[wire_id]
        if not self._keep.pop(wire_id):
            self._closing, self._takes_until = True, 0.0
        self._answered = True
        self._since = self._owner.loop.time()
        self._send(self._connection.stdout(wire_id, last) + self._connection.end(wire_id, app_status))
        self._finish()

    def break_off(self, wire_id: int) -> None:
        """Close without END_REQUEST, which with any status ends a whole answer to HAProxy: as soon as the others on the
        connection are answered, unless the web server has given this one up by then."""
        self.sweep(self._owner.loop.time())
        self._exchanges.pop(wire_id, None)
        self._unended.add(wire_id)
        self._finish()

    def sweep(self, now: float) -> None:
        """Close when it has had no request, or the web server has taken no byte, for too long."""
        settings = self._owner.settings
        quiet = _LINGER_SECONDS if self._closing else settings.connection_idle_seconds
        seconds = settings.write_seconds if self._out else quiet
        if (self._out or not self._exchanges) and now - self._since > seconds:
            self.close(f"the web server took no byte for {seconds:g} s" if self._out else "the client left")

    def drain(self) -> None:
        """Close as soon as the requests in progress are answered. One that is on its way is no request in progress yet,
        but is answered too: the first of a connection, what is half here, or what was sent before the end was seen."""
        if not self._closing:
            self._closing, self._takes_until = True, self._owner.loop.time() + _LINGER_SECONDS
        if self._answered:
            self._finish()

    def close(self, why: str = "the client left") -> None:
        """At once, whatever is in progress."""
        if self._sock.fileno() < 0:
            return
        self.poller.remove_reader(self._sock.fileno())
        self.poller.remove_writer(self._sock.fileno())
        self._sock.close()
        self._patience.end()
        self._owner.closed(self)
        for exchange in list(self._exchanges.values()):
            exchange.disconnected(why, unsent=bool(self._out))
        self._exchanges.clear()

    @property
    def _may_finish(self) -> bool:
        return self._closing and self.idle and not (self._lingering or self.closed or self._connection.incomplete)

    def _failed(self, error: Exception) -> None:
        """A peer that breaks the rules, a bug, or no memory: bytes may be lost, so the connection is of no more use."""
        self._fail(error if isinstance(error, SelcgiError) else unexpected(error, "a session"))

    def _fail(self, error: SelcgiError) -> None:
        self.close("the connection failed")
        self._owner.failed(self.listener, error)

    def _read_on(self) -> None:
        if not self.closed:
            self.poller.add_reader(self._sock.fileno(), self._readable, self._failed)

    def _readable(self) -> None:
        if self._patience.waits(self._exchanges):
            self.poller.remove_reader(self._sock.fileno())
            return
        if self._intake is not None and self._intake.take(self._receive):
            return
        try:
            data = self._sock.recv(self._patience.at_once)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._lingering or self._broken:
            self._late_bytes += len(data)
            if self._late_bytes > _LINGER_BYTES:
                self.close()
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        for event in self._connection.receive_data(data):
            _ON[type(event)](self, event)
        if self._pieces:
            self._feed()
        if answers := self._connection.data_to_send():
            self._send(answers)
        if len(self._out) > _UNTAKEN * self._owner.settings.output_bytes:
            self.poller.remove_reader(self._sock.fileno())  # a peer that asks on and takes no answer

    def _began(self, event: RequestBegan | RequestMalformed) -> None:
        pairs = event.pairs if isinstance(event, RequestBegan) else ()
        exchange = Exchange(self, event.request_id, pairs, self._owner.body())
        exchange.refused = event.error if isinstance(event, RequestMalformed) else None
        self._exchanges[event.request_id] = exchange
        self._keep[event.request_id] = event.keep_connection
        self._owner.began(exchange)

    def _chunk(self, event: BodyChunk) -> None:
        if exchange := self._exchanges.get(event.request_id):
            self._pieces.setdefault(exchange, []).append(event.data)

    def _feed(self) -> None:
        """All pieces of a body that came at once are one."""
        pieces, self._pieces = self._pieces, {}
        for exchange, its in pieces.items():
            if exchange.body.feed(*its):
                self._intake = self._intake or Intake(self._connection, self._sock, self._exchanges)
                self._intake.open = True
            exchange.on_input()

    def _ended(self, event: BodyEnded) -> None:
        if exchange := self._exchanges.get(event.request_id):
            self._feed()
            exchange.body.end()
            exchange.on_input()

    def _aborted(self, event: RequestAborted) -> None:
        if exchange := self._exchanges.get(event.request_id):
            exchange.abort(unsent=bool(self._out))
        elif event.request_id in self._unended:
            self._unended.remove(event.request_id)
            self._send(self._connection.end(event.request_id, 1))

    def _send(self, data: bytes) -> None:
        if not data or self._sock.fileno() < 0:
            return
        if self._out:
            self._out += data
        elif (sent := self._try(data)) < len(data):
            self._wait(data[sent:])

    def _wait(self, unsent: bytes) -> None:
        """For the socket to take what it did not take at once."""
        if unsent:
            self._out += unsent
            self._since = self._owner.loop.time()
            self.poller.add_writer(self._sock.fileno(), self._writable, self._failed)

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except ConnectionError:
            # The peer is gone. Its end of file is read next, and ends the requests.
            return len(data)
        except OSError as error:  # no memory: what is not sent now is lost, and nothing may follow it
            self._fail(ConnectionLost(f"it can't be written to: {error.strerror}", "see what the machine is short of"))
            return len(data)

    def _writable(self) -> None:
        del self._out[: self._try(self._out)]
        self._since = self._owner.loop.time()
        if not self._out and self._sock.fileno() >= 0:
            self.poller.remove_writer(self._sock.fileno())
            self._read_on()
        for exchange in list(self._exchanges.values()):
            exchange.on_output()
        self._finish()

    def _finish(self) -> None:
        """Half-close once everything is answered and sent, then wait for the peer to do the same. nginx takes a mere
        close for the end of a whole answer, but hands on that what came before it was no record."""
        if self._unended and not (self._exchanges or self._broken):
            self._closing, self._takes_until = True, 0.0
            self._broken = True  # nobody could read the answer to a request that comes now
            self._send(NO_RECORD)
        if not self._may_finish:
            return
        if self._owner.loop.time() < self._takes_until:
            attempt(self._readable, self._failed)  # the peer may have begun another while it was not told
            if not self._may_finish:
                return
        self._lingering, self._since = True, self._owner.loop.time()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()


_ON: dict[type[Event], Callable[[Session, Any], None]] = {
    RequestBegan: Session._began,
    RequestMalformed: Session._began,
    BodyChunk: Session._chunk,
    BodyEnded: Session._ended,
    RequestAborted: Session._aborted,
}
