"""FastCGI 1.0 records and name-value pairs: bytes to values and back.

Decides only what is well formed. Numbers and the pair encoding are flup's; its pair decoder cuts a truncated pair
short without a word, so every length is checked here. Must not know requests. Used by wire/connection.py and
serve/client.py.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from flup.server import fcgi_base

from selcgi.errors import BadRequest, ProtocolError

_HEADER = struct.Struct(fcgi_base.FCGI_Header)  # version, type, request id, content length, padding length (3.3)
_unpack = _HEADER.unpack_from
_new = tuple.__new__  # as Record(), without a function of Python's
_HEADER_BYTES = fcgi_base.FCGI_HEADER_LEN
_VERSION = fcgi_base.FCGI_VERSION_1
_LENGTH, _PADDING = slice(4, 6), 6  # in a header
_LONG = 128  # a length from here on takes four bytes (section 3.4)
LONGEST = 65528  # bytes of content in a record we send: the most that is a multiple of eight

RESPONDER: int = fcgi_base.FCGI_RESPONDER  # the one role that selcgi plays (section 6.2)
KEEP_CONN: int = fcgi_base.FCGI_KEEP_CONN  # flag of BEGIN_REQUEST (section 5.1)
MANAGEMENT: int = fcgi_base.FCGI_NULL_REQUEST_ID  # the id of records about the connection (section 3.3)
VALUES = (fcgi_base.FCGI_MAX_CONNS, fcgi_base.FCGI_MAX_REQS, fcgi_base.FCGI_MPXS_CONNS)  # section 4.1

Pair = tuple[bytes, bytes]


class Kind(IntEnum):
    """Record types (section 8)."""

    BEGIN_REQUEST = fcgi_base.FCGI_BEGIN_REQUEST
    ABORT_REQUEST = fcgi_base.FCGI_ABORT_REQUEST
    END_REQUEST = fcgi_base.FCGI_END_REQUEST
    PARAMS = fcgi_base.FCGI_PARAMS
    STDIN = fcgi_base.FCGI_STDIN
    STDOUT = fcgi_base.FCGI_STDOUT
    STDERR = fcgi_base.FCGI_STDERR
    DATA = fcgi_base.FCGI_DATA
    GET_VALUES = fcgi_base.FCGI_GET_VALUES
    GET_VALUES_RESULT = fcgi_base.FCGI_GET_VALUES_RESULT
    UNKNOWN_TYPE = fcgi_base.FCGI_UNKNOWN_TYPE


class EndStatus(IntEnum):
    """How END_REQUEST says that it went (section 5.5). FCGI_OVERLOADED is never sent: Apache shows 200 for it."""

    COMPLETE = fcgi_base.FCGI_REQUEST_COMPLETE
    CANT_MPX_CONN = fcgi_base.FCGI_CANT_MPX_CONN
    UNKNOWN_ROLE = fcgi_base.FCGI_UNKNOWN_ROLE


class Record(NamedTuple):
    """One whole record without its padding. `kind` may be a number that Kind does not have."""

    kind: int
    request_id: int
    content: bytes


class RecordReader:
    """Bytes in, whole records out; keeps less than one record (65,798 bytes) between calls."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._needed = _HEADER_BYTES  # length of the kept record as far as it is known: its header, then all of it
        self._cut = False  # the kept record is the rest of one

    @property
    def pending(self) -> int:
        """Bytes of a record that is not complete yet."""
        return len(self._kept)

    def open(self, kind: int, request_id: int) -> tuple[bytes, int, int]:
        """Of the record that is half here, if it is such a one: what has come of its content, how much is to come, and
        how many bytes from there to the end of the next header. It is two records from now on, of which the first has
        ended. Where none is half here, there may be a next header; else zeros."""
        missing = self._needed - len(self._kept)
        if len(self._kept) < _HEADER_BYTES:
            return b"", 0, missing
        if not self._length:
            return b"", 0, missing + _HEADER_BYTES if self._cut else 0
        if _unpack(self._kept)[1:3] != (kind, request_id):
            return b"", 0, 0
        content = bytes(memoryview(self._kept)[_HEADER_BYTES : _HEADER_BYTES + self._length])
        if content:
            del self._kept[_HEADER_BYTES : _HEADER_BYTES + len(content)]
            self.skip(len(content))
        return content, self._length, missing - self._length + _HEADER_BYTES

    def skip(self, size: int) -> None:
        """So much of the content to come, after open(), will not be fed."""
        self._kept[_LENGTH] = (self._length - size).to_bytes(2, "big")
        self._needed -= size
        self._cut = self._needed > _HEADER_BYTES
        if not self._cut:  # nor has it padding: that was all
            self._kept.clear()

    def skip_to(self, data: bytes) -> tuple[int, int]:
        """None of the content to come, after open(), will be fed, but `data` came behind it. If that is the header of a
        record of the same kind and request: how much content is to come, and how many bytes from there to the end of
        the next header. Else zeros: then `data` must be fed."""
        header = data[self._kept[_PADDING] :]
        same = len(header) == _HEADER_BYTES and header[: _LENGTH.start] == self._kept[: _LENGTH.start]
        length, padding = _unpack(header)[3:] if same else (0, 0)
        if not length:
            self.skip(self._length)
            return 0, 0
        self._kept[:] = header
        self._needed = _HEADER_BYTES + length + padding
        self._cut = False
        return length, padding + _HEADER_BYTES

    @property
    def _length(self) -> int:
        """Of the content of the kept record, whose header is here."""
        return int.from_bytes(self._kept[_LENGTH], "big")

    def feed(self, data: bytes) -> list[Record]:
        """The records that `data` completes. ProtocolError for any version but 1; then the reader is of no more use."""
        records: list[Record] = []
        at = self._complete_kept(data, records) if self._kept else 0
        end = len(data)
        while end - at >= _HEADER_BYTES:
            version, kind, number, length, padding = _unpack(data, at)
            start = at + _HEADER_BYTES
            after = start + length + padding
            if version != _VERSION or after > end:
                self._needed = _read_header(data, at)[3]
                break
            records.append(_new(Record, (kind, number, data[start : start + length])))
            at = after
        if at < end:
            self._kept += memoryview(data)[at:]
        return records

    def _complete_kept(self, data: bytes, records: list[Record]) -> int:
        """Add to the kept bytes what they lack, no more, so that the rest of `data` is not copied. Returns how much."""
        at = 0
        while len(self._kept) < self._needed:
            piece = data[at : at + self._needed - len(self._kept)]
            if not piece:
                return at
            self._kept += piece
            at += len(piece)
            if len(self._kept) == _HEADER_BYTES:
                self._needed = _read_header(self._kept, 0)[3]
        kind, number, length, _ = _read_header(self._kept, 0)
        if length or not self._cut:  # else it is padding
            records.append(Record(kind, number, bytes(memoryview(self._kept)[_HEADER_BYTES : _HEADER_BYTES + length])))
        self._kept = bytearray()
        self._needed = _HEADER_BYTES
        self._cut = False
        return at


def _read_header(data: bytes | bytearray, at: int) -> tuple[int, int, int, int]:
    """Type, request id, length of the content, and of the whole record with header and padding (section 3.3)."""
    version, kind, number, length, padding = _HEADER.unpack_from(data, at)
    if version != _VERSION:
        raise ProtocolError(f"record version {version}, not 1", "see that the peer speaks FastCGI, not HTTP")
    return kind, number, length, _HEADER_BYTES + length + padding


def encode_header(kind: int, request_id: int, size: int) -> bytes:
    """The header of a record with `size` bytes of content, at most 65,535 (struct.error for more), without padding."""
    return _HEADER.pack(_VERSION, kind, request_id, size, 0)


def encode_record(kind: int, request_id: int, content: bytes) -> bytes:
    """One record, `content` as long as encode_header() takes it."""
    return encode_header(kind, request_id, len(content)) + content


def encode_stream(kind: int, request_id: int, data: bytes) -> bytes:
    """`data` in as many records as it takes; nothing for nothing, since an empty record ends a stream."""
    if len(data) <= LONGEST:
        return encode_record(kind, request_id, data) if data else b""
    pieces = (data[at : at + LONGEST] for at in range(0, len(data), LONGEST))
    return b"".join(encode_record(kind, request_id, piece) for piece in pieces)


def encode_end(request_id: int, status: EndStatus, app_status: int = 0) -> bytes:
    """END_REQUEST (section 5.5)."""
    body = struct.pack(fcgi_base.FCGI_EndRequestBody, app_status & 0xFFFFFFFF, status)
    return encode_record(Kind.END_REQUEST, request_id, body)


@lru_cache(maxsize=64)
def encode_last(request_id: int, stderr_too: bool, app_status: int) -> bytes:
    """The end of both streams, and END_REQUEST of a request that was answered."""
    stdout = encode_record(Kind.STDOUT, request_id, b"")
    stderr = encode_record(Kind.STDERR, request_id, b"") if stderr_too else b""
    return stdout + stderr + encode_end(request_id, EndStatus.COMPLETE, app_status)


def encode_unknown(kind: int) -> bytes:
    """UNKNOWN_TYPE (section 4.2)."""
    return encode_record(Kind.UNKNOWN_TYPE, MANAGEMENT, struct.pack(fcgi_base.FCGI_UnknownTypeBody, kind))


def decode_pairs(data: bytes, most: int) -> tuple[Pair, ...]:
    """Name-value pairs (section 3.4). BadRequest when one is cut off, or there are more than `most`."""
    pairs: list[Pair] = []
    at, end = 0, len(data)
    try:
        while at < end:
            name, value = data[at], data[at + 1]
            if name < _LONG and value < _LONG:  # the usual pair, without a call for each
                middle = at + 2 + name
                pair = data[at + 2 : middle], data[middle : (at := middle + value)]
            else:
                at, pair = fcgi_base.decode_pair(data, at)
            pairs.append(pair)
    except (IndexError, struct.error):
        pairs.append((b"", b""))
        at = end + 1
    if len(pairs) > most:
        raise BadRequest(f"more than {most} name-value pairs")
    if at > end:
        raise BadRequest(f"name-value pair {len(pairs)} goes beyond the {end} bytes that came")
    return tuple(pairs)


def encode_pairs(pairs: Iterable[Pair]) -> bytes:
    """Name-value pairs (section 3.4)."""
    return b"".join(fcgi_base.encode_pair(name, value) for name, value in pairs)
