"""A FastCGI peer that breaks the rules: each record at each moment, an end in each state, a stall in each state.

The table says what one record, or one way to leave, does in each state of a connection. Whatever it is, the same
worker answers the next request and nothing is left. What a peer does is sent in one piece with the rest of its
request, so that the outcome does not depend on who is faster.
"""

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record
from tests.e2e.conftest import Place, Serve
from tests.e2e.faults import HELLO, leaving_nothing
from tests.e2e.test_ending import begin
from tests.stack import PATIENCE, Ask, Selcgi, ask, wait_until

# Counts its body once the test, or the end of its request, lets it.
COUNTS = """#!/bin/sh
touch $CGI_MARKS/runs-$QUERY_STRING
until [ -e $CGI_MARKS/go-$QUERY_STRING ]; do sleep 0.02; done
printf 'Content-Type: text/plain\\n\\n%d bytes\\n' $(wc -c)
"""
BEGIN = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, *[0] * 5)))
PARAMS_END, STDIN_END = (encode_record(kind, 1, b"") for kind in (Kind.PARAMS, Kind.STDIN))
PAIR = encode_pairs([(b"X_MORE", b"more")])
TOO_LONG = b"".join(encode_record(Kind.PARAMS, 1, bytes(60_000)) for _ in range(5))  # settings.py: 256 KiB
BODY = b"0123456789"
GOES_ON, CLOSED, ABORTED, REFUSED = "g", "x", "0", "4"


def stdin(data: bytes) -> bytes:
    return encode_record(Kind.STDIN, 1, data)


@dataclass(frozen=True)
class State:
    """`before` brings a connection into it, `rest` completes the request; `runs` when the script runs by then."""

    before: bytes
    rest: bytes
    runs: bool = False


def states(asked: Ask) -> dict[str, State]:
    first, second = (encode_record(Kind.PARAMS, 1, encode_pairs(half)) for half in halves(asked))
    params, body = first + second + PARAMS_END, stdin(BODY) + STDIN_END
    return {
        "new": State(b"", BEGIN + params + body),
        "begun": State(BEGIN, params + body),
        "params": State(BEGIN + first, second + PARAMS_END + body),
        "refused": State(BEGIN + TOO_LONG, PARAMS_END + STDIN_END),
        "body": State(BEGIN + params + stdin(BODY[:3]), stdin(BODY[3:]) + STDIN_END, runs=True),
        "ended": State(BEGIN + params + body, b"", runs=True),
        "answered": State(BEGIN + params + body, BEGIN + params + body),
    }


def halves(asked: Ask) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    pairs = list(asked.pairs())
    return pairs[:5], pairs[5:]


def of_request(kind: int, content: bytes = b"", number: int = 1) -> bytes:
    return encode_record(kind, number, content)


STATES = ("new", "begun", "params", "refused", "body", "ended", "answered")
# What is sent, and one letter a state: g goes on and is answered by 200, 4 is answered by 400, 0 is ended without an
# answer, x is closed. A record of a request that is not in progress is ignored (FastCGI 1.0 section 3.3).
TABLE: dict[str, tuple[bytes, str]] = {
    "BEGIN again": (BEGIN, "xxxxxxx"),
    "BEGIN of half its length": (of_request(Kind.BEGIN_REQUEST, bytes(4), 2), "xxxxxxx"),
    "BEGIN of another role": (of_request(Kind.BEGIN_REQUEST, bytes((0, 2, 1, *[0] * 5)), 2), "ggg4ggg"),
    "BEGIN of the connection": (of_request(Kind.BEGIN_REQUEST, bytes((0, 1, 1, *[0] * 5)), 0), "xxxxxxx"),
    "ABORT": (of_request(Kind.ABORT_REQUEST), "g00400g"),
    "ABORT of another": (of_request(Kind.ABORT_REQUEST, number=9), "ggg4ggg"),
    "ABORT of the connection": (of_request(Kind.ABORT_REQUEST, number=0), "xxxxxxx"),
    "END_REQUEST": (of_request(Kind.END_REQUEST, bytes(8)), "gxxxxxg"),
    "PARAMS": (of_request(Kind.PARAMS, PAIR), "ggg4xxg"),
    "PARAMS of nothing": (PARAMS_END, "gxxxxxg"),
    "PARAMS of the connection": (of_request(Kind.PARAMS, PAIR, 0), "xxxxxxx"),
    "STDIN": (stdin(b"more"), "gxxx4xg"),
    "STDIN of nothing": (STDIN_END, "gxxxxgg"),
    "STDIN of another": (of_request(Kind.STDIN, b"more", 9), "ggg4ggg"),
    "STDOUT": (of_request(Kind.STDOUT, b"more"), "gxxxxxg"),
    "STDERR": (of_request(Kind.STDERR, b"more"), "gxxxxxg"),
    "DATA": (of_request(Kind.DATA, b"more"), "gxxxxxg"),
    "DATA of nothing": (of_request(Kind.DATA), "gxxxxxg"),
    "GET_VALUES": (of_request(Kind.GET_VALUES, encode_pairs([(b"FCGI_MAX_REQS", b"")]), 0), "ggg4ggg"),
    "GET_VALUES that is cut": (of_request(Kind.GET_VALUES, b"\x0dFCGI", 0), "xxxxxxx"),
    "GET_VALUES of a request": (of_request(Kind.GET_VALUES), "gxxxxxg"),
    "GET_VALUES_RESULT": (of_request(Kind.GET_VALUES_RESULT, PAIR, 0), "xxxxxxx"),
    "UNKNOWN_TYPE": (of_request(Kind.UNKNOWN_TYPE, bytes(8), 0), "xxxxxxx"),
    "UNKNOWN_TYPE of a request": (of_request(Kind.UNKNOWN_TYPE, bytes(8)), "gxxxxxg"),
    "type 12": (of_request(12, b"more", 0), "ggg4ggg"),
    "type 12 of a request": (of_request(12, b"more"), "gxxxxxg"),
    "type 255 of a request": (of_request(255, b"more"), "gxxxxxg"),
    "type 0 of a request": (of_request(0, b"more"), "gxxxxxg"),
    "version 2": (b"\2" + stdin(b"")[1:], "xxxxxxx"),
    "no FastCGI at all": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "xxxxxxx"),
}


class Peer:
    """One connection of the peer, with a request whose script has a name of its own in the marks."""

    numbers = itertools.count()

    def __init__(self, selcgi: Selcgi, place: Place, path: str, state: str) -> None:
        self._marks, self._name = place.marks, str(next(self.numbers))
        self.state = states(Ask(path, "alice", query=self._name, body=BODY))[state]
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(selcgi.socket))
        self.sock.sendall(self.state.before)
        self._records, self._output = self._receive(), b""
        if state == "answered":
            self.go()
            assert self.outcome() == GOES_ON
        if state == "refused":
            self._output = next(self._records)[1]
        if self.state.runs:
            wait_until("the script", (place.marks / f"runs-{self._name}").exists)

    def go(self) -> None:
        (self._marks / f"go-{self._name}").touch()

    def _receive(self) -> Iterator[tuple[int, bytes]]:
        """Records of request 1, until the connection ends."""
        reader = RecordReader()
        try:
            while data := self.sock.recv(65536):
                yield from ((one.kind, one.content) for one in reader.feed(data) if one.request_id == 1)
        except ConnectionResetError:
            return

    def outcome(self) -> str:
        """What became of the request."""
        for kind, content in self._records:
            self._output += content if kind == Kind.STDOUT else b""
            if kind == Kind.END_REQUEST:
                output, self._output = self._output, b""
                return {b"Status: 200": GOES_ON, b"Status: 400": REFUSED}.get(output[:11], ABORTED)
        return CLOSED


def play(peer: Peer, data: bytes) -> str:
    """The outcome when the peer sends `data`, and then the rest of its request."""
    with peer.sock:
        peer.sock.sendall(data + peer.state.rest)
        peer.go()
        return peer.outcome()


@pytest.mark.parametrize("state", STATES)
def test_each_record_in_the_state(serve: Serve, place: Place, way: str, state: str) -> None:
    path, column = place.script("counts.cgi", COUNTS), STATES.index(state)
    selcgi = serve(way, "--kill-grace=0.2")
    found = {}
    with leaving_nothing(selcgi, place, way):
        for name, (data, _) in TABLE.items():
            lines = len(selcgi.entries())
            peer = Peer(selcgi, place, path, state)
            found[name] = play(peer, data)
            if peer.state.runs:
                wait_until("the end of its script", lambda lines=lines: len(selcgi.entries()) > lines)
        assert found == {name: letters[column] for name, (_, letters) in TABLE.items()}
        closed = [name for name, (_, letters) in TABLE.items() if letters[column] == CLOSED]
        wait_until("a line for each", lambda: selcgi.log().count("step=wire: ") == len(closed))


def leave(peer: Peer, how: str) -> None:
    if how == "half-closes":
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.outcome() == CLOSED
    elif how != "closes":
        peer.sock.sendall(WITHIN[how])
    peer.sock.close()


# It leaves within a record: a part of its header, or of its content, or of its padding.
WITHIN = {"header": STDIN_END[:5], "content": stdin(BODY)[:12], "padding": bytes((1, 5, 0, 1, 0, 1, 7, 0)) + b"xpad"}


@pytest.mark.parametrize("state", STATES)
def test_the_peer_leaves_in_the_state(serve: Serve, place: Place, way: str, state: str) -> None:
    path, selcgi = place.script("counts.cgi", COUNTS), serve(way, "--kill-grace=0.2")
    with leaving_nothing(selcgi, place, way):
        for how in ("closes", "half-closes", *WITHIN):
            count = len(selcgi.entries())
            peer = Peer(selcgi, place, path, state)
            leave(peer, how)
            if peer.state.runs:
                wait_until("its line", lambda count=count: len(selcgi.entries()) > count)
                entry = selcgi.entry()
                assert (entry["status"], entry["step"], entry["killed_by"]) == (499, "client", "client"), how
                assert "the client left" in entry["reason"]


def test_a_peer_that_stalls_in_each_state_holds_nobody_up(serve: Serve, place: Place, way: str) -> None:
    path, selcgi = place.script("counts.cgi", COUNTS), serve(way, "--kill-grace=0.2")
    hello = Ask(place.script("hello.cgi", HELLO), "bob")
    with ExitStack() as stalled, leaving_nothing(selcgi, place, way, at_once=3):
        for state in STATES:
            stalled.enter_context(Peer(selcgi, place, path, state).sock)
            assert ask(selcgi.socket, hello).text == "hello\n"
        stalled.close()


@pytest.mark.parametrize("state", ["body", "ended"])
def test_a_request_that_stalls_meets_its_deadline(serve: Serve, place: Place, way: str, state: str) -> None:
    path, selcgi = place.script("counts.cgi", COUNTS), serve(way, "--kill-grace=0.2", "--idle-timeout=1")
    with leaving_nothing(selcgi, place, way), Peer(selcgi, place, path, state).sock as sock:
        assert b"Status: 504" in sock.recv(65536)


def test_a_peer_that_takes_nothing_of_its_answer(serve: Serve, place: Place, way: str) -> None:
    """The script is not read either, so little is kept; at its deadline the answer is broken off."""
    text = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec cat /dev/zero\n"
    path, selcgi = place.script("endless.cgi", text), serve(way, "--kill-grace=0.2", "--timeout=1")
    with leaving_nothing(selcgi, place, way), begin(selcgi, Ask(path, "alice"), keep=True) as sock:
        wait_until("its line", lambda: len(selcgi.entries()) == 2)
        entry = selcgi.entry()
        assert (entry["status"], entry["step"], entry["killed_by"]) == (200, "total", "total")
        assert entry["bytes_out"] < 1 << 20
        assert encode_record(Kind.END_REQUEST, 1, bytes(8)) not in b"".join(iter(lambda: sock.recv(65536), b""))
