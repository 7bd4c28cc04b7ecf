"""A session of the worker's with a peer in the test's hands, and a clock that the test turns."""

import asyncio
import socket
from typing import Any, cast

from selcgi.errors import SelcgiError
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.rounds import Rounds
from selcgi.serve.session import Session
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings
from selcgi.wire.records import Kind, encode_record

SETTINGS = Settings(write_seconds=20, connection_idle_seconds=10, output_bytes=1000)
BEGIN = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, 0, 0, 0, 0, 0))) + encode_record(Kind.PARAMS, 1, b"")


Pair = tuple[socket.socket, socket.socket]


def unix() -> Pair:
    return socket.socketpair()


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


class Loop:
    """What a session uses of an event loop: its clock."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Owner:
    """The worker, as far as a session knows it."""

    def __init__(self) -> None:
        self.turned = Loop()
        self.loop = cast(asyncio.AbstractEventLoop, cast(Any, self.turned))
        self.poller, self.conduit, self.rounds = Poller(), Conduit(), Rounds()
        self.settings = SETTINGS
        self.exchanges: list[Exchange] = []
        self.errors: list[SelcgiError] = []
        self.left: list[Session] = []

    def body(self) -> Body:
        return Body(SETTINGS, SpoolSpace(0), 0)

    def began(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def closed(self, session: Session) -> None:
        self.left.append(session)

    def failed(self, _: ListenerSettings, error: SelcgiError) -> None:
        self.errors.append(error)


class Line:
    """A session and its peer, which has sent `data` before the session looked."""

    pair = staticmethod(unix)

    def __init__(self, data: bytes, owner: Owner | None = None) -> None:
        self.owner = owner or Owner()
        self.peer, ours = self.pair()
        self.peer.setblocking(False)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.peer.sendall(data)
        self.session = Session(self.owner, ours, ListenerSettings("unix:/x"))

    @property
    def closed(self) -> bool:
        return self.owner.left == [self.session]

    def sweep_after(self, seconds: float) -> None:
        self.owner.turned.now += seconds
        self.session.sweep(self.owner.turned.now)

    def close(self) -> None:
        self.session.close()
        self.peer.close()
        self.owner.poller.close()
        self.owner.conduit.close()

    def take(self) -> int:
        """The peer reads; the session may write again."""
        taken = len(self.peer.recv(1 << 20))
        self.owner.poller.dispatch()
        return taken


def connect(lines: list[Line], data: bytes) -> Line:
    lines.append(Line(data))
    return lines[-1]
