"""The connection's state machine: streams in any pieces, requests side by side, and peers that break the rules."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import ProtocolError
from selcgi.settings import WireLimits
from selcgi.wire.connection import (
    NEXT,
    BodyChunk,
    BodyEnded,
    Connection,
    Event,
    Input,
    RequestAborted,
    RequestBegan,
    RequestMalformed,
    State,
)
from selcgi.wire.records import (
    EndStatus,
    Kind,
    Record,
    RecordReader,
    decode_pairs,
    encode_end,
    encode_pairs,
    encode_record,
    encode_stream,
    encode_unknown,
)

LIMITS = WireLimits(params_bytes=400, params_count=5, requests=3)
PAIRS = ((b"REMOTE_USER", b"alice"), (b"X", b"y" * 200))
ABORT = Kind.ABORT_REQUEST


def begin(number: int = 1, keep: bool = False, role: int = 1) -> bytes:
    return encode_record(Kind.BEGIN_REQUEST, number, bytes((0, role, int(keep), 0, 0, 0, 0, 0)))


def params(number: int = 1, pairs: Iterable[tuple[bytes, bytes]] = PAIRS, size: int = 400) -> bytes:
    """Cut every `size` bytes, in the middle of a name or a value as it happens."""
    data = encode_pairs(pairs)
    pieces = (encode_record(Kind.PARAMS, number, data[at : at + size]) for at in range(0, len(data), size))
    return b"".join(pieces) + encode_record(Kind.PARAMS, number, b"")


def stdin(number: int = 1, *pieces: bytes) -> bytes:
    return b"".join(encode_stream(Kind.STDIN, number, piece) for piece in pieces) + encode_record(
        Kind.STDIN, number, b""
    )


def abort(number: int = 1) -> bytes:
    return encode_record(ABORT, number, b"")


def received(data: bytes, size: int, limits: WireLimits = LIMITS) -> tuple[list[Event], bytes]:
    connection = Connection(limits)
    events: list[Event] = []
    out = b""
    for at in range(0, len(data), size):
        events += connection.receive_data(data[at : at + size])
        out += connection.data_to_send()
    return events, out


def assert_reads(data: bytes, wanted: list[Event], sent: bytes = b"", limits: WireLimits = LIMITS) -> None:
    """Whole, byte by byte, and with a tail that is no whole record."""
    for fed, size in ((data, len(data)), (data, 1), (data + b"\x01\x05\x00", len(data) + 3)):
        events, out = received(fed, size, limits)
        assert [plain(event) for event in events] == [plain(event) for event in wanted]
        assert out == sent


def plain(event: Event) -> object:
    """Errors compare by identity: compare what they say."""
    return (event.request_id, str(event.error)) if isinstance(event, RequestMalformed) else event


@pytest.mark.parametrize("size", [1, 2, 7, 400])
def test_request_whatever_the_records_are_cut_into(size: int) -> None:
    data = begin() + params(size=size) + stdin(1, b"body", b"more")
    assert_reads(data, [RequestBegan(1, PAIRS, False), BodyChunk(1, b"body"), BodyChunk(1, b"more"), BodyEnded(1)])


def test_keep_conn_and_no_params_at_all() -> None:
    assert_reads(begin(9, keep=True) + params(9, ()) + stdin(9), [RequestBegan(9, (), True), BodyEnded(9)])


def test_two_requests_side_by_side() -> None:
    first, second = begin(1) + params(1, PAIRS[:1]), begin(3) + params(3, PAIRS[1:])
    mixed = begin(1) + begin(3) + params(3, PAIRS[1:]) + params(1, PAIRS[:1]) + stdin(1, b"one") + stdin(3, b"three")
    assert received(first + second, 99)[0] == [RequestBegan(1, PAIRS[:1], False), RequestBegan(3, PAIRS[1:], False)]
    body: list[Event] = [BodyChunk(1, b"one"), BodyEnded(1), BodyChunk(3, b"three"), BodyEnded(3)]
    assert_reads(mixed, [RequestBegan(3, PAIRS[1:], False), RequestBegan(1, PAIRS[:1], False), *body])


def test_too_long_params_are_told_at_once_and_the_rest_is_not_kept() -> None:
    connection = Connection(LIMITS)
    connection.receive_data(begin() + encode_record(Kind.PARAMS, 1, b"x" * 400))
    (event,) = connection.receive_data(encode_record(Kind.PARAMS, 1, b"x"))
    assert isinstance(event, RequestMalformed)
    assert "longer than 400 bytes" in event.error.reason
    assert connection.receive_data(encode_record(Kind.PARAMS, 1, b"x" * 60000) * 20) == []
    assert connection.receive_data(encode_record(Kind.PARAMS, 1, b"") + stdin(1, b"z")) == [
        BodyChunk(1, b"z"),
        BodyEnded(1),
    ]
    assert connection.active == {1}
    connection.end(1)
    assert connection.active == frozenset()


@pytest.mark.parametrize(
    ("sent", "what"),
    [(b"\x05", "pair 1 goes beyond"), (encode_pairs([(b"A", b"")] * 6), "more than 5 name-value pairs")],
)
def test_malformed_params_still_get_their_answer(sent: bytes, what: str) -> None:
    data = begin(keep=True) + encode_stream(Kind.PARAMS, 1, sent) + encode_record(Kind.PARAMS, 1, b"") + stdin(1)
    (malformed, ended), _ = received(data, len(data))
    assert isinstance(malformed, RequestMalformed)
    assert what in malformed.error.reason
    assert (malformed.keep_connection, ended) == (True, BodyEnded(1))


def test_abort_before_the_params_end_is_answered_here() -> None:
    sent = encode_record(Kind.STDOUT, 1, b"") + encode_end(1, EndStatus.COMPLETE)
    assert_reads(begin() + encode_record(Kind.PARAMS, 1, b"x") + abort() + params(1), [], sent)


def test_abort_comes_once_and_what_follows_is_ignored() -> None:
    late = abort() + encode_record(Kind.STDIN, 1, b"late") + stdin(1)
    began = RequestBegan(1, PAIRS, False)
    assert_reads(begin() + params() + abort() + late, [began, RequestAborted(1)])
    assert_reads(begin() + params() + stdin() + abort() + late, [began, BodyEnded(1), RequestAborted(1)])


def test_abort_of_refused_params_reaches_the_caller() -> None:
    data = begin() + encode_record(Kind.PARAMS, 1, b"x" * 401) + abort()
    assert received(data, len(data))[0][1:] == [RequestAborted(1)]


def test_late_records_of_an_ended_request_are_ignored_and_its_id_is_free_again() -> None:
    connection = Connection(LIMITS)
    connection.receive_data(begin() + params())
    connection.end(1)
    assert connection.receive_data(encode_record(Kind.STDIN, 1, b"late") + stdin() + abort() + params()) == []
    assert connection.receive_data(begin() + params()) == [RequestBegan(1, PAIRS, False)]
    assert connection.data_to_send() == b""


def test_answer_ends_its_streams_and_the_request() -> None:
    connection = Connection(LIMITS)
    connection.receive_data(begin(5) + params(5) + begin(6) + params(6))
    sent = connection.stdout(5, b"out") + connection.stderr(5, b"err") + connection.end(5, 3)
    kinds = [(Kind.STDOUT, b"out"), (Kind.STDERR, b"err"), (Kind.STDOUT, b""), (Kind.STDERR, b"")]
    wanted = [Record(kind, 5, content) for kind, content in kinds]
    assert RecordReader().feed(sent) == [*wanted, Record(Kind.END_REQUEST, 5, bytes((0, 0, 0, 3, 0, 0, 0, 0)))]
    assert connection.stderr(6, b"") == b""
    assert [record.kind for record in RecordReader().feed(connection.end(6))] == [Kind.STDOUT, Kind.END_REQUEST]


def test_values_asked_for_are_told_each_once() -> None:
    asked = encode_pairs([(b"FCGI_MPXS_CONNS", b""), (b"FCGI_MAX_REQS", b""), (b"FCGI_MPXS_CONNS", b""), (b"EVE", b"")])
    events, out = received(encode_record(Kind.GET_VALUES, 0, asked) + begin() + params(), 11)
    (record,) = RecordReader().feed(out)
    assert (record.kind, record.request_id) == (Kind.GET_VALUES_RESULT, 0)
    assert sorted(decode_pairs(record.content, 9)) == [(b"FCGI_MAX_REQS", b"3"), (b"FCGI_MPXS_CONNS", b"1")]
    assert events == [RequestBegan(1, PAIRS, False)]


def test_unknown_management_is_answered_and_unused_ids_are_ignored() -> None:
    assert_reads(encode_record(77, 0, b"?") + encode_record(77, 4, b"?") + abort(4), [], encode_unknown(77))


def test_too_many_requests_and_other_roles_are_refused_but_the_rest_goes_on() -> None:
    data = b"".join(begin(number) for number in (1, 2, 3, 4)) + params(4) + stdin(4) + params(1)
    assert_reads(data, [RequestBegan(1, PAIRS, False)], encode_end(4, EndStatus.CANT_MPX_CONN))
    assert_reads(begin(1, role=2) + params(1) + stdin(1), [], encode_end(1, EndStatus.UNKNOWN_ROLE))


@pytest.mark.parametrize(
    "data",
    [
        begin() + begin(),
        encode_record(Kind.BEGIN_REQUEST, 1, b"\0\1\0"),
        begin() + encode_record(Kind.STDIN, 1, b"early"),
        begin() + params() + params(),
        begin() + params() + stdin() + encode_record(Kind.STDIN, 1, b"after the end"),
        begin() + params() + encode_record(Kind.DATA, 1, b"x"),
        begin() + params() + encode_record(99, 1, b"x"),
        begin() + params() + encode_record(Kind.STDOUT, 1, b"x"),
        begin(0),
        encode_record(Kind.UNKNOWN_TYPE, 0, b"\0" * 8),
        encode_record(Kind.GET_VALUES, 0, b"\x05"),
        b"GET / HTTP/1.0\r\n\r\n",
        encode_record(99, 0, b"") * 1001,
    ],
)
def test_peers_that_break_the_rules_are_left(data: bytes) -> None:
    for size in (len(data), 1):
        with pytest.raises(ProtocolError):
            received(data, size)


def test_answers_of_our_own_are_bounded_only_while_no_request_begins() -> None:
    connection = Connection(LIMITS)
    for _ in range(3):
        connection.receive_data(encode_record(99, 0, b"") * 900 + begin() + params())
        connection.end(1)
    assert len(connection.data_to_send()) == 3 * 900 * len(encode_unknown(99))


def test_every_state_can_be_left_by_abort_and_aborted_by_nothing() -> None:
    assert all(after[Input.ABORT] is State.ABORTED for after in NEXT.values())
    assert NEXT[State.ABORTED] == dict.fromkeys(Input, State.ABORTED)


NUMBERS = st.sampled_from([0, 1, 1, 1, 2, 3, 4])
KINDS = st.sampled_from([*Kind, 99])
LIKELY = st.builds(
    lambda number, size, body: begin(number) + params(number, size=size) + stdin(number, body),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 300),
    st.binary(max_size=20),
)
STREAMS = st.lists(
    LIKELY
    | st.builds(encode_record, KINDS, NUMBERS, st.sampled_from([b"", b"x", b"\0\1\0\0\0\0\0\0", b"y" * 401]))
    | st.builds(abort, NUMBERS.filter(bool))
    | st.binary(max_size=9),
    max_size=7,
).map(b"".join)


@given(STREAMS, st.integers(1, 500))
@settings(max_examples=250)
def test_any_stream_in_any_pieces_gives_the_same_events_or_a_protocol_error(data: bytes, size: int) -> None:
    outcomes: list[object] = []
    for each in (max(1, len(data)), size, 1):
        try:
            events, out = received(data, each)
        except ProtocolError:
            outcomes.append("refused")
            continue
        outcomes.append(([plain(event) for event in events], out))
        assert_sane(events)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def assert_sane(events: list[Event]) -> None:
    """One beginning, chunks that are not empty, at most one end, nothing after an abort."""
    for number in {event.request_id for event in events}:
        first, *others = [event for event in events if event.request_id == number]
        assert isinstance(first, RequestBegan | RequestMalformed)
        kinds = [type(event) for event in others]
        assert kinds.count(BodyEnded) <= 1
        assert kinds.count(RequestAborted) <= 1
        assert RequestAborted not in kinds[:-1]
        assert BodyChunk not in kinds[kinds.index(BodyEnded) :] if BodyEnded in kinds else True
        assert all(event.data for event in others if isinstance(event, BodyChunk))
