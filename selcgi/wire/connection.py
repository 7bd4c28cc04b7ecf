"""One FastCGI 1.0 connection as a state machine: bytes in, events out; answers in, bytes out.

Decides what each record means for its request, and answers by itself what concerns the connection alone. Whatever
comes, in whatever pieces, gives events or a ProtocolError. Keeps no body: that is the caller's. Must not do I/O.
Used by serve/session.py, one for each connection.
"""

from dataclasses import dataclass
from enum import Enum

from selcgi.errors import BadRequest, ProtocolError, SelcgiError
from selcgi.settings import WireLimits
from selcgi.wire.records import (
    KEEP_CONN,
    MANAGEMENT,
    RESPONDER,
    VALUES,
    EndStatus,
    Kind,
    Pair,
    Record,
    RecordReader,
    decode_pairs,
    encode_pairs,
    encode_record,
    encode_stream,
)

_BEGIN_BYTES = 8  # role, flags, reserved (section 5.1)


@dataclass(frozen=True, slots=True)
class RequestBegan:
    """All params are here."""

    request_id: int
    pairs: tuple[Pair, ...]
    keep_connection: bool


@dataclass(frozen=True, slots=True)
class RequestMalformed:
    """The params can't be taken; the request waits for its answer like any other."""

    request_id: int
    error: SelcgiError
    keep_connection: bool


@dataclass(frozen=True, slots=True)
class BodyChunk:
    """More of the body; never empty."""

    request_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnded:
    """The body is complete; comes once."""

    request_id: int


@dataclass(frozen=True, slots=True)
class RequestAborted:
    """The web server does not want the answer any more: by record, or because it is gone."""

    request_id: int


Event = RequestBegan | RequestMalformed | BodyChunk | BodyEnded | RequestAborted


class State(Enum):
    """Of one request, as far as its input goes."""

    PARAMS = "params"
    BODY = "body"
    ENDED = "ended"
    ABORTED = "aborted"


# What the next record of a request may be, and where it leads. Any other kind ends the connection.
NEXT: dict[State, dict[int, State]] = {
    State.PARAMS: {Kind.PARAMS: State.PARAMS, Kind.ABORT_REQUEST: State.ABORTED},
    State.BODY: {Kind.STDIN: State.BODY, Kind.DATA: State.BODY, Kind.ABORT_REQUEST: State.ABORTED},
    State.ENDED: {Kind.STDIN: State.ENDED, Kind.DATA: State.ENDED, Kind.ABORT_REQUEST: State.ABORTED},
    State.ABORTED: {kind: State.ABORTED for kind in (Kind.PARAMS, Kind.STDIN, Kind.DATA, Kind.ABORT_REQUEST)},
}
assert set(NEXT) == set(State)


@dataclass(slots=True)
class _Request:
    keep: bool
    params: bytearray | None  # None once they are too long
    state: State = State.PARAMS
    wrote_stderr: bool = False


class Connection:
    """`active` are the ids that wait for end(). Bytes to send, of connection matters, come from data_to_send()."""

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._reader = RecordReader()
        self._requests: dict[int, _Request] = {}
        self._out = bytearray()

    @property
    def active(self) -> frozenset[int]:
        return frozenset(self._requests)

    def receive_data(self, data: bytes) -> list[Event]:
        """What `data` brings. ProtocolError: nothing on this connection can be trusted, close it."""
        events: list[Event] = []
        for record in self._reader.feed(data):
            if record.request_id == MANAGEMENT:
                self._manage(record)
            elif record.kind == Kind.BEGIN_REQUEST:
                self._begin(record)
            elif (request := self._requests.get(record.request_id)) is not None:
                events += self._advance(request, record)
            # Records of an id that is not active are ignored (section 3.3).
        return events

    def receive_eof(self) -> list[Event]:
        """The web server is gone, and with it all that it wanted."""
        live = [number for number, request in self._requests.items() if request.state is not State.ABORTED]
        for number in live:
            self._requests[number].state = State.ABORTED
        return [RequestAborted(number) for number in live]

    def data_to_send(self) -> bytes:
        """Answers to management records and refused BEGINs, since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def stdout(self, request_id: int, data: bytes) -> bytes:
        return encode_stream(Kind.STDOUT, request_id, data)

    def stderr(self, request_id: int, data: bytes) -> bytes:
        if data:
            self._requests[request_id].wrote_stderr = True
        return encode_stream(Kind.STDERR, request_id, data)

    def end(self, request_id: int, app_status: int = 0) -> bytes:
        """The end of both streams and of the request (section 5.5); the id is free again."""
        request = self._requests.pop(request_id)
        stderr = encode_record(Kind.STDERR, request_id, b"") if request.wrote_stderr else b""
        stdout = encode_record(Kind.STDOUT, request_id, b"")
        return stderr + stdout + _end(request_id, EndStatus.COMPLETE, app_status)

    def _begin(self, record: Record) -> None:
        number = record.request_id
        if number in self._requests:
            raise ProtocolError(f"BEGIN_REQUEST for request {number}, which is in progress")
        if len(record.content) != _BEGIN_BYTES:
            raise ProtocolError(f"BEGIN_REQUEST of {len(record.content)} bytes, not {_BEGIN_BYTES}")
        role = int.from_bytes(record.content[:2], "big")
        if role != RESPONDER:
            self._out += _end(number, EndStatus.UNKNOWN_ROLE)
        elif len(self._requests) >= self._limits.requests:
            self._out += _end(number, EndStatus.CANT_MPX_CONN)
        else:
            self._requests[number] = _Request(bool(record.content[2] & KEEP_CONN), bytearray())

    def _advance(self, request: _Request, record: Record) -> list[Event]:
        before = request.state
        after = NEXT[before].get(record.kind)
        if after is None:
            raise ProtocolError(f"record type {record.kind} while request {record.request_id} is at its {before.value}")
        request.state = after
        if record.kind == Kind.ABORT_REQUEST:
            return self._abort(request, record, before)
        if record.kind == Kind.PARAMS and before is State.PARAMS:
            return self._params(request, record)
        if record.kind == Kind.STDIN and before is State.BODY:
            return self._stdin(request, record)
        return []

    def _abort(self, request: _Request, record: Record, before: State) -> list[Event]:
        """Before its params are complete nobody but the web server knows of the request: it is ended here."""
        if before is State.PARAMS:
            self._out += self.end(record.request_id)
            return []
        return [] if before is State.ABORTED else [RequestAborted(record.request_id)]

    def _params(self, request: _Request, record: Record) -> list[Event]:
        """One stream, whatever its pieces: joined first, parsed once."""
        if record.content:
            self._collect(request, record.content)
            return []
        number, data, request.params = record.request_id, request.params, None
        request.state = State.BODY
        try:
            if data is None:
                raise BadRequest(f"params of more than {self._limits.params_bytes} bytes")
            return [RequestBegan(number, decode_pairs(bytes(data), self._limits.params_count), request.keep)]
        except BadRequest as error:
            return [RequestMalformed(number, error, request.keep)]

    def _collect(self, request: _Request, content: bytes) -> None:
        if request.params is None:
            return
        if len(request.params) + len(content) > self._limits.params_bytes:
            request.params = None
        else:
            request.params += content

    def _stdin(self, request: _Request, record: Record) -> list[Event]:
        if record.content:
            return [BodyChunk(record.request_id, record.content)]
        request.state = State.ENDED
        return [BodyEnded(record.request_id)]

    def _manage(self, record: Record) -> None:
        """Management records (section 4), answered at once: HAProxy waits for GET_VALUES."""
        if record.kind == Kind.GET_VALUES:
            self._out += encode_record(Kind.GET_VALUES_RESULT, 0, self._values(record.content))
        else:
            self._out += encode_record(Kind.UNKNOWN_TYPE, 0, bytes((record.kind, *(0,) * 7)))

    def _values(self, content: bytes) -> bytes:
        known = dict(zip((name.encode() for name in VALUES), (b"1024", b"1024", b"1"), strict=True))
        try:
            asked = {name for name, _ in decode_pairs(content, self._limits.params_count)}
        except BadRequest as error:
            raise ProtocolError(f"FCGI_GET_VALUES: {error.reason}") from error
        return encode_pairs((name, value) for name, value in known.items() if name in asked)


def _end(request_id: int, protocol_status: int, app_status: int = 0) -> bytes:
    body = app_status.to_bytes(4, "big") + bytes((protocol_status, 0, 0, 0))
    return encode_record(Kind.END_REQUEST, request_id, body)
