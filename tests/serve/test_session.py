"""A connection whose peer stalls, sends half a record or nothing, or is late, by a clock that the test turns."""

import pytest

from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN, Line, connect


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


def test_one_that_asks_nothing_does_not_hold_up_the_drain(lines: list[Line]) -> None:
    line = connect(lines, b"")
    line.session.drain()
    line.sweep_after(3)
    assert line.closed
