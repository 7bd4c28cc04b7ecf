"""An answer that breaks off, or can't be sent: the web server sees it, and what follows is no answer of another's."""

import errno

import pytest

from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN, Line, connect


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
