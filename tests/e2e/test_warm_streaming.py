"""A WSGI application whose answer comes piece by piece: who waits for whom is settled by pipes, never by time."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.stack import PATIENCE, Ask, Selcgi

APPLICATION = """
def application(environ, start_response):
    asked, leave = environ["QUERY_STRING"].split("&")
    with open(asked, "w") as pipe:
        pipe.write("asked")
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    yield b"first "
    with open(leave) as pipe:
        assert pipe.readline() == "go on\\n"
    while piece := environ["wsgi.input"].read(5000):
        yield piece[::-1]
    yield b" last"
"""
BODY = os.urandom(2_000_000)  # far more than all pipes on its way hold
BACK = b"".join(BODY[at : at + 5000][::-1] for at in range(0, len(BODY), 5000))


class Visit:
    """One request, step by step."""

    def __init__(self, place: Place, selcgi: Selcgi, length: int) -> None:
        pipes = [place.marks / name for name in ("asked", "leave")]
        for pipe in pipes:
            os.mkfifo(pipe)
            pipe.chmod(0o666)
        self._asked, self._leave = (os.open(pipe, os.O_RDWR) for pipe in pipes)
        self._reader, self._received = RecordReader(), b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(selcgi.socket))
        params = {"CONTENT_LENGTH": str(length), "REQUEST_METHOD": "POST"}
        asked = Ask(str(place.cgi / "app.wsgi"), "alice", "&".join(map(str, pipes)), params=params)
        pairs = encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs())) + encode_record(Kind.PARAMS, 1, b"")
        self._socket.sendall(encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 0, 0, 0, 0, 0, 0))) + pairs)

    def close(self) -> None:
        self._socket.close()
        os.close(self._asked)
        os.close(self._leave)

    def send(self, body: bytes) -> None:
        self._socket.sendall(encode_stream(Kind.STDIN, 1, body) + encode_record(Kind.STDIN, 1, b""))

    def wait_asked(self) -> None:
        """Until the application is asked."""
        assert select.select([self._asked], [], [], PATIENCE)[0]
        assert os.read(self._asked, 99) == b"asked"

    def give_leave(self) -> None:
        os.write(self._leave, b"go on\n")

    def read_until(self, end: bytes) -> bytes:
        """The body so far, once it ends so."""
        while not self._received.endswith(end):
            data = self._socket.recv(1 << 20)
            assert data, f"closed after {self._received[:400]!r}"
            records = self._reader.feed(data)
            self._received += b"".join(one.content for one in records if one.kind == Kind.STDOUT)
        return self._received.partition(b"\r\n\r\n")[2]


@pytest.fixture
def selcgi(place: Place, serve: Serve, cgroup: Path) -> Iterator[Selcgi]:
    place.rules("* user_webapp_t:s0 warm=wsgi")
    place.script("app.wsgi", APPLICATION)
    with serve(f"--cgroup={cgroup}") as running:
        yield running


def test_the_first_piece_is_seen_before_the_last_is_made(place: Place, selcgi: Selcgi) -> None:
    with closing(Visit(place, selcgi, 0)) as visit:
        visit.send(b"")
        assert visit.read_until(b"first ") == b"first "
        visit.give_leave()
        assert visit.read_until(b" last") == b"first  last"


def test_a_body_is_read_while_the_answer_goes_on(place: Place, selcgi: Selcgi) -> None:
    with closing(Visit(place, selcgi, len(BODY))) as visit:
        visit.send(BODY)
        assert visit.read_until(b"first ") == b"first ", "and nothing of the body has been read by then"
        visit.give_leave()
        assert visit.read_until(b" last") == b"first " + BACK + b" last"


def test_the_application_is_asked_before_its_body_has_come(place: Place, selcgi: Selcgi) -> None:
    """contrib/WARM.md says so."""
    with closing(Visit(place, selcgi, len(BODY))) as visit:
        visit.wait_asked()
        visit.give_leave()
        visit.send(BODY)
        assert visit.read_until(b" last") == b"first " + BACK + b" last"
