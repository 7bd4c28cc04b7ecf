"""A body that is taken past the state machine: whatever is taken, wherever the stream is cut, no event differs."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import ProtocolError
from selcgi.wire.connection import BodyChunk, BodyEnded, Connection, Event
from selcgi.wire.records import Kind, encode_record
from tests.wire.test_connection import LIMITS, STREAMS, begin, params, plain, stdin

Step = tuple[bool, int]  # a body is taken elsewhere; how many bytes there are


def padded(number: int, content: bytes, padding: int) -> bytes:
    return struct.pack("!BBHHBx", 1, Kind.STDIN, number, len(content), padding) + content + b"\1\5\0\1"[:padding]


class Stream:
    """One that is received in steps, until it is over."""

    def __init__(self, data: bytes) -> None:
        self.connection = Connection(LIMITS)
        self.left = data
        self.events: list[Event] = []
        self.out = b""
        self.elsewhere = 0

    def cut(self, size: int) -> bytes:
        piece, self.left = self.left[:size], self.left[size:]
        return piece

    def receive(self, data: bytes) -> None:
        self.events += self.connection.receive_data(data)
        self.out += self.connection.data_to_send()

    def take(self, number: int, size: int) -> None:
        """As serve/intake.py does, with no more than `size` bytes there."""
        piece, ahead, behind = self.connection.open_body(number)
        if piece:
            self.events.append(BodyChunk(number, piece))
        while ahead and size and self.left:
            taken = self.cut(min(ahead, size))
            self.events.append(BodyChunk(number, taken))
            self.elsewhere += len(taken)
            size -= len(taken)
            if len(taken) < ahead:
                self.connection.body_taken(len(taken))
                return
            late = self.cut(min(behind, size))
            size -= len(late)
            ahead, behind = self.connection.body_goes_on(late)
            if not ahead:
                self.receive(late)
                return

    def run(self, steps: list[Step]) -> object:
        """Merged events, and what was answered; `refused` when the peer broke the rules."""
        at = 0
        try:
            while self.left:
                elsewhere, size = steps[at % len(steps)]
                at += 1
                for number in sorted(self.connection.active) if elsewhere else ():
                    self.take(number, size)
                self.receive(self.cut(size if not elsewhere else 8))
        except ProtocolError:
            return "refused"
        return merged(self.events), self.out


def merged(events: list[Event]) -> list[object]:
    """How a body is cut means nothing."""
    found: list[object] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, BodyChunk) and isinstance(last, BodyChunk) and last.request_id == event.request_id:
            found[-1] = BodyChunk(event.request_id, last.data + event.data)
        else:
            found.append(plain(event))
    return found


BODIES = st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.integers(0, 4)), max_size=6).map(
    lambda pieces: (
        begin() + params() + b"".join(padded(1, *piece) for piece in pieces) + encode_record(Kind.STDIN, 1, b"")
    )
)
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 90)), min_size=1, max_size=12)


@given(st.lists(BODIES | STREAMS, min_size=1, max_size=3).map(b"".join), STEPS)
@settings(max_examples=400)
def test_what_is_taken_elsewhere_changes_no_event(data: bytes, steps: list[Step]) -> None:
    assert Stream(data).run([*steps, (True, 1)]) == Stream(data).run([(False, max(1, len(data)))])


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_all_but_headers_can_be_taken_elsewhere(padding: int, size: int) -> None:
    body = bytes(range(200))
    stream = Stream(b"".join(padded(1, body, padding) for _ in range(5)) + stdin())
    stream.receive(begin() + params())
    stream.receive(stream.cut(8))
    ended = stream.run([(True, size)])
    assert ended == ([*merged(stream.events[:1]), BodyChunk(1, body * 5), BodyEnded(1)], b"")
    assert stream.elsewhere >= 200 if size == 1000 else stream.elsewhere > 0
    assert not stream.connection.incomplete


def test_one_call_a_record_is_enough() -> None:
    stream = Stream(b"".join(padded(1, b"x" * 50, 2) for _ in range(5)) + stdin())
    stream.receive(begin() + params() + stream.cut(8))
    stream.take(1, 1000)
    assert stream.elsewhere == 250
    assert stream.events[-1] == BodyEnded(1)


@pytest.mark.parametrize(
    "start",
    [
        b"",  # not yet begun
        begin() + params() + stdin(1, b"x"),
        begin() + params() + encode_record(Kind.ABORT_REQUEST, 1, b"") + padded(1, b"late", 0)[:9],
        begin() + params() + begin(2) + params(2) + padded(2, b"of another", 0)[:12],
        begin() + encode_record(Kind.PARAMS, 1, b"params")[:12],
    ],
)
def test_of_what_is_no_body_of_that_request_nothing_may_be_taken(start: bytes) -> None:
    connection = Connection(LIMITS)
    connection.receive_data(start)
    piece, ahead, _ = connection.open_body(1)
    assert (piece, ahead) == (b"", 0)


def test_the_end_of_a_body_with_its_padding_half_here_is_not_lost() -> None:
    connection = Connection(LIMITS)
    connection.receive_data(begin() + params() + padded(1, b"", 4)[:9])
    assert connection.open_body(1) == (b"", 0, 0)
    assert connection.receive_data(b"\0\0\0") == [BodyEnded(1)]


def test_an_answered_request_leaves_the_rest_of_its_record_to_nobody() -> None:
    connection = Connection(LIMITS)
    connection.receive_data(begin() + params() + padded(1, b"0123456789", 0)[:12])
    assert connection.open_body(1) == (b"0123", 6, 8)
    connection.end(1)
    assert connection.open_body(1) == (b"", 0, 0)
    assert connection.receive_data(b"456789" + stdin() + begin(keep=True) + params()) != []
    assert connection.active == {1}
