"""Records and pairs: fed in any pieces, compared with flup's own code, and garbage that may only be refused by name."""

import socket
import struct
from itertools import pairwise
from typing import Any

import pytest
from flup.server import fcgi_base
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BadRequest, ProtocolError
from selcgi.wire.records import (
    LONGEST,
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

CONTENT = st.binary(max_size=40)
RECORDS = st.lists(st.builds(Record, st.integers(0, 255), st.integers(0, 65535), CONTENT), max_size=6)
PAIRS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)), max_size=8)


def padded(record: Record, padding: int) -> bytes:
    header = struct.pack("!BBHHBx", 1, record.kind, record.request_id, len(record.content), padding)
    return header + record.content + b"p" * padding


def read_in(pieces: list[bytes]) -> tuple[list[Record], int]:
    reader = RecordReader()
    records = [record for piece in pieces for record in reader.feed(piece)]
    return records, reader.pending


def assert_reads(data: bytes, wanted: list[Record]) -> None:
    """Whole, byte by byte, and with a tail that is no whole record."""
    assert read_in([data]) == (wanted, 0)
    assert read_in([data[at : at + 1] for at in range(len(data))]) == (wanted, 0)
    tail = padded(Record(Kind.STDIN, 1, b"late"), 3)[:-1]
    assert read_in([data + tail]) == (wanted, len(tail))


@given(RECORDS, st.integers(0, 255))
@settings(max_examples=60)
def test_records_in_any_pieces(records: list[Record], padding: int) -> None:
    assert_reads(b"".join(padded(record, padding) for record in records), records)


@given(RECORDS, st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=100)
def test_records_cut_anywhere(records: list[Record], cuts: list[int]) -> None:
    data = b"".join(padded(record, 5) for record in records)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read_in([data[a:b] for a, b in pairwise(edges)]) == (records, 0)


def test_longest_record_with_most_padding() -> None:
    record = Record(Kind.STDIN, 65535, b"x" * 65535)
    data = padded(record, 255)
    assert read_in([data[:70], data[70:]]) == ([record], 0)
    assert read_in([data[:-1]]) == ([], 8 + 65535 + 254)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"\0" * 8, b"\x02\x01\0\x01\0\x08\0\0"])
def test_other_protocols_are_refused_in_any_pieces(start: bytes) -> None:
    for pieces in ([start], [start[at : at + 1] for at in range(len(start))]):
        with pytest.raises(ProtocolError, match="record version"):
            read_in(pieces)


@given(st.binary(max_size=60), st.integers(1, 60))
@settings(max_examples=100)
def test_garbage_gives_records_or_a_protocol_error(data: bytes, size: int) -> None:
    outcomes = []
    for pieces in ([data], [data[at : at + size] for at in range(0, len(data), size)]):
        try:
            outcomes.append(read_in(pieces))
        except ProtocolError:
            outcomes.append(([], -1))
    assert outcomes[0] == outcomes[1]


def written_by_flup(record: Record) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other: Any = fcgi_base.Record(record.kind, record.request_id)
        other.contentData, other.contentLength = record.content, len(record.content)
        other.write(theirs)
        theirs.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: ours.recv(65536), b""))


def read_by_flup(data: bytes) -> Record:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        other: Any = fcgi_base.Record()
        other.read(ours)
        return Record(other.type, other.requestId, other.contentData)


@given(st.builds(Record, st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=900)))
@settings(max_examples=60)
def test_records_mean_the_same_to_flup(record: Record) -> None:
    assert read_in([written_by_flup(record)]) == ([record], 0)
    assert read_by_flup(encode_record(record.kind, record.request_id, record.content)) == record


@given(PAIRS)
@settings(max_examples=60)
def test_pairs_mean_the_same_to_flup(pairs: list[tuple[bytes, bytes]]) -> None:
    data = encode_pairs(pairs)
    assert data == b"".join(fcgi_base.encode_pair(name, value) for name, value in pairs)
    assert decode_pairs(data, 8) == tuple(pairs)


@given(PAIRS.filter(bool), st.data())
@settings(max_examples=60)
def test_cut_pairs_are_refused_or_fewer_but_never_shortened(
    pairs: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    whole = encode_pairs(pairs)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        read = decode_pairs(whole[:cut], 8)
    except BadRequest:
        return
    assert read == tuple(pairs[: len(read)])
    assert encode_pairs(read) == whole[:cut]


@pytest.mark.parametrize(
    "data", [b"\x03", b"\x80", b"\x80\0\0", b"\x01\x80\0", b"\xff\xff\xff\xff\x01a", b"\x01\x05ab"]
)
def test_lengths_beyond_the_data_are_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="goes beyond"):
        decode_pairs(data, 10)


def test_pairs_are_counted() -> None:
    assert len(decode_pairs(b"\0\0" * 3, 3)) == 3
    with pytest.raises(BadRequest, match="more than 3"):
        decode_pairs(b"\0\0" * 4, 3)


@given(PAIRS | st.binary(max_size=30).map(lambda data: [(data, data)]), st.binary(max_size=30))
@settings(max_examples=60)
def test_any_bytes_are_pairs_or_a_bad_request(pairs: list[tuple[bytes, bytes]], noise: bytes) -> None:
    data = encode_pairs(pairs) + noise
    try:
        read = decode_pairs(data, 30)
    except BadRequest:
        return
    assert sum(len(name) + len(value) for name, value in read) <= len(data)
    assert list(read[: len(pairs)]) == pairs


@pytest.mark.parametrize("size", [0, 1, LONGEST, LONGEST + 1, 3 * LONGEST])
def test_stream_is_cut_into_records_and_never_ends_itself(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    records, _ = read_in([encode_stream(Kind.STDOUT, 7, data[:size])])
    assert b"".join(record.content for record in records) == data[:size]
    assert all(0 < len(record.content) <= LONGEST for record in records)
    assert len(records) == -(-size // LONGEST)


def test_end_and_unknown_as_section_5_5_and_4_2_have_them() -> None:
    assert encode_end(258, EndStatus.CANT_MPX_CONN, 1) == bytes((1, 3, 1, 2, 0, 8, 0, 0)) + bytes(
        (0, 0, 0, 1, 1, 0, 0, 0)
    )
    assert encode_unknown(99) == bytes((1, 11, 0, 0, 0, 8, 0, 0)) + bytes((99, 0, 0, 0, 0, 0, 0, 0))
