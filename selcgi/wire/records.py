"""FastCGI 1.0 records and name-value pairs: bytes to values and back.

Decides only what is well formed. Numbers and the pair encoding are flup's; its pair decoder cuts a truncated pair
short without a word, so every length is checked here. Must not know requests. Used by wire/connection.py and
serve/client.py.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from flup.server import fcgi_base

from selcgi.errors import BadRequest, ProtocolError

_HEADER = struct.Struct("!BBHHBx")  # version, type, request id, content length, padding length (section 3.3)
LONGEST = 65528  # bytes of content in a record we send: the most that is a multiple of eight
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
    """How END_REQUEST says that it went (section 5.5)."""

    COMPLETE = fcgi_base.FCGI_REQUEST_COMPLETE
    CANT_MPX_CONN = fcgi_base.FCGI_CANT_MPX_CONN
    UNKNOWN_ROLE = fcgi_base.FCGI_UNKNOWN_ROLE

RESPONDER: int = fcgi_base.FCGI_RESPONDER  # the one role that selcgi plays (section 6.2)
KEEP_CONN: int = fcgi_base.FCGI_KEEP_CONN  # flag of BEGIN_REQUEST (section 5.1)
MANAGEMENT: int = fcgi_base.FCGI_NULL_REQUEST_ID  # the id of records about the connection (section 3.3)
VALUES = (fcgi_base.FCGI_MAX_CONNS, fcgi_base.FCGI_MAX_REQS, fcgi_base.FCGI_MPXS_CONNS)  # section 4.1


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record without its padding. `kind` may be a number that Kind does not have."""

    kind: int
    request_id: int
    content: bytes


class RecordReader:
    """Bytes in, whole records out; keeps less than one record (65,798 bytes) between calls."""

    def __init__(self) -> None:
        self._kept = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a record that is not complete yet."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[Record]:
        """The records that `data` completes. ProtocolError for any version but 1."""
        if self._kept:
            self._kept += data
            if not self._whole():
                return []
            data = bytes(self._kept)
            self._kept.clear()
        records: list[Record] = []
        at = 0
        while len(data) - at >= _HEADER.size:
            version, kind, request_id, length, padding = _HEADER.unpack_from(data, at)
            if version != fcgi_base.FCGI_VERSION_1:
                raise ProtocolError(f"record version {version}, not 1", "see that the peer speaks FastCGI, not HTTP")
            end = at + _HEADER.size + length
            if end + padding > len(data):
                break
            records.append(Record(kind, request_id, data[at + _HEADER.size : end]))
            at = end + padding
        self._kept += data[at:]
        return records

    def _whole(self) -> bool:
        """A record fed byte by byte is looked at once it is complete, not at every byte."""
        if len(self._kept) < _HEADER.size:
            return False
        version, _, _, length, padding = _HEADER.unpack_from(self._kept)
        return bool(version != fcgi_base.FCGI_VERSION_1 or len(self._kept) >= _HEADER.size + length + padding)


def encode_record(kind: int, request_id: int, content: bytes) -> bytes:
    """One record, `content` of at most 65,535 bytes."""
    return _HEADER.pack(fcgi_base.FCGI_VERSION_1, kind, request_id, len(content), 0) + content


def encode_stream(kind: int, request_id: int, data: bytes) -> bytes:
    """`data` in as many records as it takes; nothing for nothing, since an empty record ends a stream."""
    if len(data) <= LONGEST:
        return encode_record(kind, request_id, data) if data else b""
    pieces = (data[at : at + LONGEST] for at in range(0, len(data), LONGEST))
    return b"".join(encode_record(kind, request_id, piece) for piece in pieces)


def decode_pairs(data: bytes, most: int) -> tuple[Pair, ...]:
    """Name-value pairs (section 3.4). BadRequest when one is cut off, or there are more than `most`."""
    pairs: list[Pair] = []
    at, end = 0, len(data)
    while at < end:
        try:
            at, pair = fcgi_base.decode_pair(data, at)
        except (IndexError, struct.error):
            at = end + 1
        if at > end:
            raise BadRequest("a name-value pair is cut off")
        if len(pairs) == most:
            raise BadRequest(f"more than {most} params")
        pairs.append(pair)
    return tuple(pairs)


def encode_pairs(pairs: Iterable[Pair]) -> bytes:
    """Name-value pairs (section 3.4)."""
    return b"".join(fcgi_base.encode_pair(name, value) for name, value in pairs)
