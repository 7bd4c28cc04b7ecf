"""A connection whose peer stalls, sends half a record or nothing, or is late, by a clock that the test turns."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from selcgi.errors import SelcgiError
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.session import Session
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings
from selcgi.wire.records import Kind, encode_record

SETTINGS = Settings(write_seconds=20, connection_idle_seconds=10, output_bytes=1000)
BEGIN = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, 0, 0, 0, 0, 0))) + encode_record(Kind.PARAMS, 1, b"")


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
        self.poller, self.conduit = Poller(), Conduit()
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

    def __init__(self, data: bytes) -> None:
        self.owner = Owner()
        self.peer, ours = socket.socketpair()
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

    def take(self) -> int:
        """The peer reads; the session may write again."""
        taken = len(self.peer.recv(1 << 20))
        self.owner.poller.dispatch()
        return taken


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.session.close()
        line.peer.close()
        line.owner.poller.close()
        line.owner.conduit.close()


def connect(lines: list[Line], data: bytes) -> Line:
    lines.append(Line(data))
    return lines[-1]


@pytest.mark.parametrize("data", [b"", BEGIN[:5], BEGIN[:20]], ids=["nothing", "half a record", "no params"])
def test_a_connection_without_a_request_is_closed_after_its_time(lines: list[Line], data: bytes) -> None:
    line = connect(lines, data)
    line.sweep_after(9)
    assert not line.closed
    line.sweep_after(2)
    assert line.closed
    assert line.peer.recv(1) == b""


def test_one_with_a_request_in_progress_may_be_silent(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.sweep_after(1000)
    assert not line.closed
    assert not line.owner.exchanges[0].aborted


def test_a_peer_that_takes_nothing_is_left_and_its_request_told(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    assert not exchange.blocked
    exchange.write(b"x" * 100_000)
    assert exchange.blocked
    line.sweep_after(19)
    assert line.take() > 0
    line.sweep_after(19)
    assert not line.closed
    line.sweep_after(2)
    assert line.closed
    assert exchange.aborted
    exchange.write(b"late")
    exchange.end(0)


def test_a_script_that_thought_for_long_leaves_its_peer_all_the_time_to_take_the_answer(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.owner.turned.now += 70
    line.owner.exchanges[0].write(b"x" * 200_000)
    line.sweep_after(19)
    assert not line.closed


def test_what_is_no_record_is_an_error_of_the_connection(lines: list[Line]) -> None:
    line = connect(lines, b"GET / HTTP/1.1\r\n\r\n")
    assert line.closed
    assert [error.step for error in line.owner.errors] == ["wire"]


def test_a_drained_connection_takes_no_other_request(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.session.drain()
    assert not line.closed
    line.owner.exchanges[0].end(0)
    received = line.peer.recv(1 << 16)
    assert encode_record(Kind.END_REQUEST, 1, bytes(8)) in received
    assert line.peer.recv(1) == b"", "half-closed: the peer sees the end"


def test_a_peer_that_does_not_close_after_the_answer_is_left(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.session.drain()
    line.owner.exchanges[0].end(0)
    line.sweep_after(1)
    assert not line.closed, "it may have input on its way, and a reset would overtake the answer"
    line.sweep_after(2)
    assert line.closed


def test_the_rest_of_an_answer_and_its_end_are_one_packet(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write_last(b"Status: 200 OK\r\n\r\n")
    with pytest.raises(BlockingIOError):
        line.peer.recv(1)
    exchange.end(0)
    received = line.peer.recv(1 << 16)
    assert b"Status: 200 OK" in received
    assert encode_record(Kind.END_REQUEST, 1, bytes(8)) in received


def test_a_broken_answer_keeps_what_was_written(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write_last(b"half")
    exchange.break_off()
    assert line.peer.recv(1 << 16).startswith(encode_record(Kind.STDOUT, 1, b"half"))


def test_an_answer_that_breaks_off_ends_with_what_is_no_record(lines: list[Line]) -> None:
    """After all that was written; a mere close would look whole to nginx."""
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"x" * 50_000)
    exchange.break_off()
    received = b""
    while not line.closed and (data := line.peer.recv(1 << 20)):
        received += data
        line.owner.poller.dispatch()
    assert received.endswith(bytes(8))
    assert received.count(b"x") == 50_000
    assert encode_record(Kind.END_REQUEST, 1, bytes(8)) not in received


def test_a_peer_that_took_nothing_is_not_told_of_the_break(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"x" * 100_000)
    line.owner.turned.now += 21
    exchange.break_off()
    assert line.closed


def test_the_others_on_a_connection_survive_a_break(lines: list[Line]) -> None:
    line = connect(lines, BEGIN + BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b""))
    first, second = line.owner.exchanges
    first.write(b"x")
    first.break_off()
    second.write(b"still here")
    received = line.peer.recv(1 << 16)
    assert encode_record(Kind.END_REQUEST, 1, b"\0\0\0\1\0\0\0\0") in received
    assert b"still here" in received


def test_a_connection_whose_first_request_is_on_its_way_is_answered_while_draining(lines: list[Line]) -> None:
    whole = BEGIN[:16] + encode_record(Kind.PARAMS, 1, b"") + encode_record(Kind.STDIN, 1, b"")
    for sent in (0, 5, 16):
        line = connect(lines, whole[:sent])
        line.session.drain()
        assert not line.closed
        line.peer.sendall(whole[sent:])
        line.owner.poller.dispatch()
        line.owner.exchanges[0].end(0)
        assert encode_record(Kind.END_REQUEST, 1, bytes(8)) in line.peer.recv(1 << 16)
        assert line.peer.recv(1) == b"", "and that was its last"


def test_a_kept_connection_with_half_a_request_is_answered_while_draining(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.owner.exchanges[0].end(0)
    line.peer.recv(1 << 16)
    line.peer.sendall(BEGIN[:20])
    line.owner.poller.dispatch()
    line.session.drain()
    line.peer.sendall(BEGIN[20:])
    line.owner.poller.dispatch()
    line.owner.exchanges[1].end(0)
    assert encode_record(Kind.END_REQUEST, 1, bytes(8)) in line.peer.recv(1 << 16)


def test_a_request_that_came_before_the_end_was_told_is_answered_while_draining(lines: list[Line]) -> None:
    """A web server that keeps the connection sends it at once, and for a POST there is no second try."""
    line = connect(lines, BEGIN)
    line.session.drain()
    for _ in range(2):
        line.peer.sendall(BEGIN)
        line.owner.exchanges[-1].end(0)
    assert len(line.owner.exchanges) == 3
    line.owner.turned.now += 3
    line.peer.sendall(BEGIN)
    line.owner.exchanges[-1].end(0)
    assert len(line.owner.exchanges) == 3, "not for ever: it is the old mapping that decides here"
    assert line.peer.recv(1 << 16).count(encode_record(Kind.END_REQUEST, 1, bytes(8))) == 3
    assert line.peer.recv(1) == b""


def test_after_an_answer_that_broke_off_nothing_more_is_taken_while_draining(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.session.drain()
    line.peer.sendall(BEGIN)
    line.owner.exchanges[0].break_off()
    assert len(line.owner.exchanges) == 1


def test_one_that_asks_nothing_does_not_hold_up_the_drain(lines: list[Line]) -> None:
    line = connect(lines, b"")
    line.session.drain()
    line.sweep_after(3)
    assert line.closed


def test_a_request_after_a_break_is_none(lines: list[Line]) -> None:
    """Nobody could read its answer, behind what is no record."""
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"x" * 50_000)
    exchange.break_off()
    line.peer.sendall(BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b""))
    line.owner.poller.dispatch()
    assert line.owner.exchanges == [exchange]


def test_a_peer_that_stalls_is_not_said_to_have_left(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"x" * 100_000)
    line.sweep_after(21)
    assert line.closed
    assert (exchange.unsent, exchange.why_gone) == (True, "the web server took no byte for 20 s")


def test_without_memory_to_send_the_connection_ends_and_says_so(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte less, and what follows would be taken for another record."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    monkeypatch.setattr("socket.socket.send", full)
    exchange.write(b"lost")
    assert line.closed
    assert exchange.aborted
    assert [error.step for error in line.owner.errors] == ["send"]


def test_who_takes_all_and_leaves_has_all(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"whole")
    line.peer.close()
    line.owner.poller.dispatch()
    assert (exchange.aborted, exchange.unsent) == (True, False)
