"""An answer that breaks off, or can't be sent: the web server sees it, and what follows is no answer of another's."""

import errno

import pytest

from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN, Line, connect

SECOND = BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b"")  # of the same connection


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


def test_the_others_on_a_connection_are_answered_before_it_ends_by_a_break(lines: list[Line]) -> None:
    line = connect(lines, BEGIN + SECOND)
    first, second = line.owner.exchanges
    first.write(b"x")
    first.break_off()
    assert line.peer.recv(1 << 16) == encode_record(Kind.STDOUT, 1, b"x"), "and no end of it yet"
    second.write(b"still here")
    second.end(0)
    received = line.peer.recv(1 << 16)
    ended = encode_record(Kind.STDOUT, 2, b"") + encode_record(Kind.END_REQUEST, 2, bytes(8))
    assert received == encode_record(Kind.STDOUT, 2, b"still here") + ended + bytes(8)
    assert line.peer.recv(1) == b""


def test_a_break_that_the_web_server_has_not_waited_for_ends_in_order(lines: list[Line]) -> None:
    line = connect(lines, BEGIN + SECOND)
    first, second = line.owner.exchanges
    first.break_off()
    line.peer.sendall(encode_record(Kind.ABORT_REQUEST, 1, b""))
    line.owner.poller.dispatch()
    ended = encode_record(Kind.STDOUT, 1, b"") + encode_record(Kind.END_REQUEST, 1, b"\0\0\0\1\0\0\0\0")
    assert line.peer.recv(1 << 16) == ended
    second.end(0)
    assert line.peer.recv(1 << 16).endswith(encode_record(Kind.END_REQUEST, 2, bytes(8)))
    line.peer.sendall(BEGIN)
    line.owner.poller.dispatch()
    assert len(line.owner.exchanges) == 3, "the connection is of use, and so is the id"


@pytest.mark.parametrize("others", [b"", SECOND])
def test_a_break_of_what_the_web_server_has_given_up_ends_in_order(lines: list[Line], others: bytes) -> None:
    line = connect(lines, BEGIN + others + encode_record(Kind.ABORT_REQUEST, 1, b""))
    line.owner.exchanges[0].break_off()
    ended = encode_record(Kind.END_REQUEST, 1, b"\0\0\0\1\0\0\0\0")
    assert line.peer.recv(1 << 16).endswith(ended)


def test_after_an_answer_that_broke_off_nothing_more_is_taken_while_draining(lines: list[Line]) -> None:
    line = connect(lines, BEGIN)
    line.session.drain()
    line.peer.sendall(BEGIN)
    line.owner.exchanges[0].break_off()
    assert len(line.owner.exchanges) == 1


def test_a_request_after_a_break_is_none(lines: list[Line]) -> None:
    """Nobody could read its answer, behind what is no record."""
    line = connect(lines, BEGIN)
    (exchange,) = line.owner.exchanges
    exchange.write(b"x" * 50_000)
    exchange.break_off()
    line.peer.sendall(SECOND)
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
