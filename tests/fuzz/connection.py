"""Invariant: any bytes give events or a ProtocolError, nothing else, and any split of the bytes gives the same ones.

The events are those of `Reading`, which tells FastCGI 1.0 a second time: one request is what its records spell. Input:
the bytes of one connection.
"""

import re
from collections.abc import Iterable

from selcgi.errors import ProtocolError
from selcgi.settings import WireLimits
from selcgi.wire.connection import (
    BodyChunk,
    BodyEnded,
    Connection,
    Event,
    RequestAborted,
    RequestBegan,
    RequestMalformed,
)
from tests.fuzz.framing import NotFastCGI, framed, opened, pairs_of
from tests.fuzz.pieces import splits

LIMITS = WireLimits(params_bytes=1500, params_count=40, requests=2)
ENDS = (BodyEnded, RequestAborted, RequestMalformed)  # what a session may answer at once
_LETTERS = {(4, True): "P", (4, False): "p", (5, True): "S", (5, False): "s", (2, False): "A"}
# PARAMS until it ends, then STDIN until it ends, an abort at any time, and after it what was on its way.
_is_request = re.compile(r"P*(pS*s*)?(A[PpSsA]*)?").fullmatch
_KNOWN = range(1, 12)
Plain = tuple[object, ...]


def check(data: bytes) -> None:
    wanted = Reading(ending=False).read(data)
    for pieces in ([data], *splits(data)):
        exact = max(map(len, pieces), default=0) <= 1
        _compare(_received(pieces, ending=False), wanted, exact)
    try:
        records = list(framed(data))
    except NotFastCGI:
        return
    _compare(_received(records, ending=False), wanted, exact=True)
    _compare(_received(records, ending=True), Reading(ending=True).read(data), exact=True)


class Reading:
    """One pass over the records; a request is the word that its records spell."""

    def __init__(self, ending: bool) -> None:
        self._ending = ending  # each request is ended when its input has
        self._words: dict[int, str] = {}
        self._params: dict[int, bytes] = {}
        self._keep: dict[int, bool] = {}
        self.events: list[Plain] = []
        self.answers: list[tuple[int, int]] = []
        self.failed = False

    def read(self, data: bytes) -> "Reading":
        try:
            for record in framed(data):
                self._record(*opened(record))
        except NotFastCGI:
            self.failed = True
        return self

    def _known(self, number: int) -> bool:
        return "p" in self._words[number] or len(self._params[number]) > LIMITS.params_bytes

    def _record(self, kind: int, number: int, content: bytes) -> None:
        if number == 0:
            if kind in _KNOWN and (kind != 9 or pairs_of(content) is None or self._many(content)):
                raise NotFastCGI
            self.answers.append((10 if kind == 9 else 11, 0))
        elif kind == 1:
            self._begin(number, content)
        elif number in self._words:
            self._words[number] += _LETTERS.get((kind, bool(content)), "?")
            if not _is_request(self._words[number]):
                raise NotFastCGI
            self._event(number, self._words[number], content)

    def _many(self, content: bytes) -> bool:
        return len(pairs_of(content) or ()) > LIMITS.params_count

    def _begin(self, number: int, content: bytes) -> None:
        if number in self._words or len(content) != 8:
            raise NotFastCGI
        if content[:2] != b"\0\1" or len(self._words) == LIMITS.requests:
            self.answers.append((3, number))
            return
        self._words[number], self._params[number], self._keep[number] = "", b"", content[2] % 2 == 1

    def _event(self, number: int, word: str, content: bytes) -> None:
        params = self._params[number]
        self._params[number] = params + (content if word[-1] == "P" else b"")
        refused = len(params) > LIMITS.params_bytes
        if "A" in word[:-1]:
            return
        match word[-1]:
            case "P" if not refused and len(self._params[number]) > LIMITS.params_bytes:
                self._say(RequestMalformed, number, self._keep[number])
            case "p" if not refused:
                pairs = pairs_of(params)
                if pairs is None or len(pairs) > LIMITS.params_count:
                    self._say(RequestMalformed, number, self._keep[number])
                else:
                    self._say(RequestBegan, number, pairs, self._keep[number])
            case "S":
                self._say(BodyChunk, number, content)
            case "s" if word[-2] != "s":
                self._say(BodyEnded, number)
            case "A" if self._known(number):
                self._say(RequestAborted, number)
            case "A":
                self.answers += [(6, number), (3, number)]
                del self._words[number]

    def _say(self, kind: type[Event], number: int, *rest: object) -> None:
        self.events.append((kind, number, *rest))
        if self._ending and kind in ENDS:
            del self._words[number]


Outcome = tuple[list[Plain], list[tuple[int, int]], bool]


def _received(pieces: Iterable[bytes], ending: bool) -> Outcome:
    """Events and answers, and whether it ended in a ProtocolError."""
    connection = Connection(LIMITS)
    events: list[Plain] = []
    out = b""
    failed = False
    try:
        for piece in pieces:
            new = connection.receive_data(piece)
            out += connection.data_to_send()
            events += map(_plain, new)
            if ending:
                _end(connection, new)
    except ProtocolError as error:
        assert str(error).isprintable(), error
        failed = True
    assert len(connection.active) <= LIMITS.requests
    return events, [opened(record)[:2] for record in framed(out)], failed


def _end(connection: Connection, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, ENDS):
            number = event.request_id
            sent = connection.stdout(number, b"x" * 70000) + connection.end(number)
            kinds = [(kind, ended, len(content)) for kind, ended, content in map(opened, framed(sent))]
            assert kinds == [(6, number, 65528), (6, number, 4472), (6, number, 0), (3, number, 8)], kinds


def _plain(event: Event) -> Plain:
    match event:
        case RequestBegan():
            return RequestBegan, event.request_id, event.pairs, event.keep_connection
        case RequestMalformed():
            assert str(event.error).isprintable()
            return RequestMalformed, event.request_id, event.keep_connection
        case BodyChunk():
            return BodyChunk, event.request_id, event.data
    return type(event), event.request_id


def _compare(got: Outcome, wanted: Reading, exact: bool) -> None:
    """Unless `exact`, what came in the same piece as a ProtocolError, before it, is lost with it."""
    events, answers, failed = got
    assert failed == wanted.failed, f"ProtocolError: {failed}, wanted: {wanted.failed}"
    lossy = failed and not exact
    for some, all_ in ((events, wanted.events), (answers, wanted.answers)):
        assert some == (all_[: len(some)] if lossy else all_), f"{some}, wanted {all_}"
