"""One FastCGI 1.0 connection as a state machine: bytes in, events out; answers in, bytes out.

Decides what each record means for its request, and answers by itself what concerns the connection alone. Whatever
comes, in whatever pieces, gives events or a ProtocolError. Keeps no body: that is the caller's. Must not do I/O.
Used by serve/session.py, one for each connection.
"""

from dataclasses import dataclass
from enum import Enum

from selcgi.errors import BadRequest, ProtocolError, SelcgiError
from selcgi.settings import WireLimits
from selcgi.values import valueclass
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
    encode_end,
    encode_header,
    encode_last,
    encode_pairs,
    encode_record,
    encode_stream,
    encode_unknown,
)

_BEGIN_BYTES = 8  # role, flags, reserved (section 5.1)
_CONNECTIONS = b"1024"  # told to whom asks FCGI_MAX_CONNS; no web server is known to use it
_ANSWERS_IN_A_ROW = 1000  # of our own, without a request begun: a peer that asks for more is after our memory


@valueclass(frozen=True, slots=True)
class RequestBegan:
    """All params are here; the body may follow."""

    request_id: int
    pairs: tuple[Pair, ...]
    keep_connection: bool


@dataclass(frozen=True, slots=True)
class RequestMalformed:
    """Instead of RequestBegan: the params can't be taken. The request waits for its answer like any other."""

    request_id: int
    error: SelcgiError
    keep_connection: bool


@valueclass(frozen=True, slots=True)
class BodyChunk:
    """More of the body; never empty."""

    request_id: int
    data: bytes


@valueclass(frozen=True, slots=True)
class BodyEnded:
    """The body is complete; comes once, or never."""

    request_id: int


@dataclass(frozen=True, slots=True)
class RequestAborted:
    """The web server does not want the answer any more: by record, or because it is gone. Comes once, and last."""

    request_id: int


Event = RequestBegan | RequestMalformed | BodyChunk | BodyEnded | RequestAborted


class State(Enum):
    """Of one request, as far as its input goes. The caller knows of it from BODY on, or from REFUSED on."""

    __hash__ = object.__hash__  # an Enum's own is written in Python, and each record is looked up by one of them

    PARAMS = "params"
    REFUSED = "refused params"  # too long: reported already, the rest is thrown away
    BODY = "body"
    ENDED = "end"
    ABORTED = "abort"


class Input(Enum):
    """Records of a request. An empty one ends its stream (section 3.3)."""

    PARAMS = (Kind.PARAMS, True)
    PARAMS_END = (Kind.PARAMS, False)
    STDIN = (Kind.STDIN, True)
    STDIN_END = (Kind.STDIN, False)
    ABORT = (Kind.ABORT_REQUEST, False)


# What the next record of a request may be, and where it leads. Anything else is an error of the peer, and of unknown
# record types too: what they mean for the request is unknown, so going on would be a guess.
NEXT: dict[State, dict[Input, State]] = {
    State.PARAMS: {
        Input.PARAMS: State.PARAMS,
        Input.PARAMS_END: State.BODY,
        Input.ABORT: State.ABORTED,
    },
    State.REFUSED: {
        Input.PARAMS: State.REFUSED,
        Input.PARAMS_END: State.BODY,
        Input.ABORT: State.ABORTED,
    },
    State.BODY: {
        Input.STDIN: State.BODY,
        Input.STDIN_END: State.ENDED,
        Input.ABORT: State.ABORTED,
    },
    State.ENDED: {
        Input.STDIN_END: State.ENDED,
        Input.ABORT: State.ABORTED,
    },
    State.ABORTED: dict.fromkeys(Input, State.ABORTED),
}
assert set(NEXT) == set(State)
NO_RECORD = bytes(8)  # of version 0, which is none: whoever reads it gives the connection up
_AFTER = {
    (state, int(one.value[0]), one.value[1]): after for state, steps in NEXT.items() for one, after in steps.items()
}  # by type and whether there is content


@dataclass(slots=True)
class _Request:
    keep: bool
    params: bytearray
    state: State = State.PARAMS
    wrote_stderr: bool = False


class Connection:
    """`active` are the ids that wait for end(). After a ProtocolError it is of no more use."""

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._reader = RecordReader()
        self._requests: dict[int, _Request] = {}
        self._out = bytearray()
        self._answers = 0  # of our own since a request last began

    @property
    def active(self) -> frozenset[int]:
        return frozenset(self._requests)

    @property
    def incomplete(self) -> bool:
        """A record is half here, or the params of a request are."""
        return self._reader.pending > 0 or any(one.state is State.PARAMS for one in self._requests.values())

    def receive_data(self, data: bytes) -> list[Event]:
        """What `data` brings. ProtocolError: nothing on this connection can be trusted, close it."""
        events: list[Event] = []
        for record in self._reader.feed(data):
            if record.request_id == MANAGEMENT:
                self._manage(record)
            elif record.kind == Kind.BEGIN_REQUEST:
                self._begin(record)
            elif (request := self._requests.get(record.request_id)) is not None:
                event = self._advance(request, record)
                if event is not None:
                    events.append(event)
            # Records of an id that is not active are ignored (section 3.3).
        return events

    def open_body(self, request_id: int) -> tuple[bytes, int, int]:
        """More of its body, which a record that is half here keeps; how many of the next bytes of the stream are of it,
        and may be taken elsewhere if body_taken() is told; how many there are from there to the next header's end."""
        request = self._requests.get(request_id)
        open_too = request is not None and request.state is State.BODY
        return self._reader.open(Kind.STDIN, request_id) if open_too else (b"", 0, 0)

    def body_taken(self, size: int) -> None:
        self._reader.skip(size)

    def body_goes_on(self, data: bytes) -> tuple[int, int]:
        """All that was told to be of the body was taken elsewhere, and `data` came then: how much is of it now, and how
        much there is from there to the next header's end. (0, 0) when `data` must be received as ever."""
        return self._reader.skip_to(data)

    def data_to_send(self) -> bytes:
        """Answers to management records and to refused BEGINs since the last call."""
        if not self._out:
            return b""
        data = bytes(self._out)
        self._out.clear()
        return data

    def stdout(self, request_id: int, data: bytes) -> bytes:
        """The bytes that carry `data` of the response. The request is active (KeyError otherwise, here and below)."""
        assert request_id in self._requests
        return encode_stream(Kind.STDOUT, request_id, data)

    def stdout_header(self, request_id: int, size: int) -> bytes:
        """What must go before `size` bytes of the response, 1 to records.LONGEST, that are sent by other means."""
        assert request_id in self._requests
        return encode_header(Kind.STDOUT, request_id, size)

    def stderr(self, request_id: int, data: bytes) -> bytes:
        """The bytes that carry `data` to the web server's error log."""
        request = self._requests[request_id]
        request.wrote_stderr = request.wrote_stderr or bool(data)
        return encode_stream(Kind.STDERR, request_id, data)

    def end(self, request_id: int, app_status: int = 0) -> bytes:
        """The end of its streams and of the request (section 5.5); the id is free again."""
        request = self._requests.pop(request_id)
        return encode_last(request_id, request.wrote_stderr, app_status)

    def _begin(self, record: Record) -> None:
        number = record.request_id
        if number in self._requests:
            raise ProtocolError(f"BEGIN_REQUEST for request {number}, which is in progress")
        if len(record.content) != _BEGIN_BYTES:
            raise ProtocolError(f"BEGIN_REQUEST of {len(record.content)} bytes, not {_BEGIN_BYTES}")
        if int.from_bytes(record.content[:2], "big") != RESPONDER:
            self._answer(encode_end(number, EndStatus.UNKNOWN_ROLE))
        elif len(self._requests) >= self._limits.requests:
            self._answer(encode_end(number, EndStatus.CANT_MPX_CONN))
        else:
            self._requests[number] = _Request(bool(record.content[2] & KEEP_CONN), bytearray())
            self._answers = 0

    def _advance(self, request: _Request, record: Record) -> Event | None:
        before, number, content = request.state, record.request_id, record.content
        after = _AFTER.get((before, record.kind, bool(content)))
        if after is None:
            raise ProtocolError(f"record type {record.kind} while request {number} is at its {before.value}")
        request.state = after
        if after is State.ABORTED:
            return self._abort(number, before)
        if before is State.BODY:
            return BodyChunk(number, content) if content else BodyEnded(number)
        if before is State.PARAMS:
            return self._collect(request, number, content) if content else self._parse(request, number)
        return None

    def _abort(self, number: int, before: State) -> Event | None:
        """Before its params are complete nobody but the web server knows of the request: it is ended here."""
        if before is State.PARAMS:
            self._answer(self.end(number))
            return None
        return None if before is State.ABORTED else RequestAborted(number)

    def _collect(self, request: _Request, number: int, content: bytes) -> Event | None:
        """Join what is one stream, and give up as soon as it is too long."""
        if len(request.params) + len(content) <= self._limits.params_bytes:
            request.params += content
            return None
        request.state, request.params = State.REFUSED, bytearray()
        error = BadRequest(
            f"the params are longer than {self._limits.params_bytes} bytes",
            "have the web server limit request headers, or send fewer params",
        )
        return RequestMalformed(number, error, request.keep)

    def _parse(self, request: _Request, number: int) -> Event:
        """The whole stream at once: a record may end in the middle of a pair."""
        data, request.params = bytes(request.params), bytearray()
        try:
            pairs = decode_pairs(data, self._limits.params_count)
        except BadRequest as error:
            return RequestMalformed(number, error, request.keep)
        return RequestBegan(number, pairs, request.keep)

    def _manage(self, record: Record) -> None:
        """Management records (section 4), answered at once: HAProxy waits for GET_VALUES."""
        if record.kind == Kind.GET_VALUES:
            self._answer(encode_record(Kind.GET_VALUES_RESULT, MANAGEMENT, self._values(record.content)))
        elif record.kind in Kind.__members__.values():
            raise ProtocolError(f"record type {record.kind} with request id 0")
        else:
            self._answer(encode_unknown(record.kind))

    def _values(self, content: bytes) -> bytes:
        """What of section 4.1 is asked for, each once however often. HAProxy takes MAX_REQS as of one connection."""
        answers = (_CONNECTIONS, b"%d" % self._limits.requests, b"1")
        known = dict(zip((name.encode() for name in VALUES), answers, strict=True))
        try:
            asked = {name for name, _ in decode_pairs(content, self._limits.params_count)}
        except BadRequest as error:
            raise ProtocolError(f"GET_VALUES: {error.reason}") from None
        return encode_pairs((name, value) for name, value in known.items() if name in asked)

    def _answer(self, data: bytes) -> None:
        self._answers += 1
        if self._answers > _ANSWERS_IN_A_ROW:
            raise ProtocolError(f"{self._answers} records that only the connection answers, and no request")
        self._out += data
