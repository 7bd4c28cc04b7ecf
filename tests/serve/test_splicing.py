"""Bytes that go from a pipe to a socket unread: all of them, once, in order, whatever the socket takes of them."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import F_GETPIPE_SZ, fcntl
from pathlib import Path
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from selcgi.serve.splicing import Conduit
from selcgi.wire.records import Kind, RecordReader, encode_record
from tests.serve.line import BEGIN, Line, Pair, tcp, unix

HEADER = b"8 bytes."
MULTIPLEXED = BEGIN + BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b"")


class Pipe:
    def __init__(self, content: bytes = b"") -> None:
        self.exit, self.entry = os.pipe2(os.O_NONBLOCK)
        if content:
            assert os.write(self.entry, content) == len(content)

    def close(self) -> None:
        for end in (self.exit, self.entry):
            with suppress(OSError):
                os.close(end)


@contextmanager
def connected(make: Callable[[], Pair]) -> Iterator[Pair]:
    ours, peer = make()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    with ours, peer:
        yield ours, peer


def content(size: int) -> bytes:
    return bytes(at * 7 & 255 for at in range(size))


def unsent_after(conduit: Conduit, make: Callable[[], Pair], filled: int) -> int:
    """How much of a record of 60,008 bytes came back from a socket that holds about `filled` bytes already; what did
    not is with its peer."""
    pipe, before = Pipe(content(61_000)), 0
    with connected(make) as (ours, peer):
        with suppress(BlockingIOError):
            while before < filled:
                before += ours.send(b"-" * min(200, filled - before))
        assert conduit.fill(pipe.exit, 60_000) == 60_000
        unsent = conduit.forward(HEADER, 60_000, ours)
        sent = peer.recv(before + 60_008 - len(unsent), socket.MSG_WAITALL)
    assert sent[before:] + unsent == HEADER + content(60_000)
    assert os.read(pipe.exit, 65536) == content(61_000)[60_000:], "not a byte more was taken"
    assert conduit.fill(pipe.exit, 1) == 0
    pipe.close()
    return len(unsent)


def test_what_the_socket_does_not_take_comes_back(conduit: Conduit) -> None:
    assert {unsent_after(conduit, unix, filled) for filled in range(0, 20_000, 1_000)} >= {0, 60_008}
    parts = {unsent_after(conduit, tcp, filled) for filled in range(2_000, 20_000, 6_000)}
    assert parts - {0, 60_000, 60_008}, "TCP takes any part"


def test_a_header_that_is_not_taken_whole_comes_back_with_all_behind_it(conduit: Conduit) -> None:
    class Grudging:
        def send(self, *_: object) -> int:
            return 3

    pipe = Pipe(b"content")
    assert conduit.fill(pipe.exit, 7) == 7
    assert conduit.forward(HEADER, 7, cast(socket.socket, Grudging())) == b"ytes.content"
    pipe.close()


def test_nothing_of_one_that_is_gone_is_left_for_the_next(conduit: Conduit) -> None:
    pipe = Pipe(b"of the one")
    with connected(unix) as (ours, peer):
        peer.close()
        assert conduit.fill(pipe.exit, 100) == 10
        assert conduit.forward(HEADER, 10, ours) == b""
    os.write(pipe.entry, b"other")
    with connected(unix) as (ours, peer):
        assert conduit.fill(pipe.exit, 100) == 5
        assert conduit.forward(HEADER, 5, ours) == b""
        assert peer.recv(100) == HEADER + b"other"
    pipe.close()


def test_what_cannot_be_spliced_is_left_to_be_read(conduit: Conduit) -> None:
    empty, ended = Pipe(), Pipe()
    os.close(ended.entry)
    with open("/dev/null", "rb") as null:
        assert [conduit.fill(fd, 100) for fd in (empty.exit, ended.exit, null.fileno())] == [0, 0, 0]
    empty.close()
    ended.close()


def test_few_pipes_are_wide_at_a_time(conduit: Conduit) -> None:
    pipes = [Pipe() for _ in range(20)]
    narrow = fcntl(pipes[0].exit, F_GETPIPE_SZ)
    for pipe in pipes:
        conduit.widen(pipe.exit)
    wide = [pipe for pipe in pipes if fcntl(pipe.exit, F_GETPIPE_SZ) > narrow]
    assert len(wide) == 16
    conduit.forget(wide[0].exit)
    conduit.widen(pipes[-1].exit)
    assert fcntl(pipes[-1].exit, F_GETPIPE_SZ) > narrow
    for pipe in pipes:
        pipe.close()


Step = tuple[int, int, int]  # of which request; how many bytes; how many the peer takes after it


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20_000), st.integers(0, 9_000)), max_size=25))
def test_two_requests_of_a_connection_do_not_mix_whatever_the_peer_takes(steps: list[Step]) -> None:
    """1 and 2 write, 3 and 4 are 1 and 2 that splice."""
    line = Line(MULTIPLEXED)
    exchanges = dict(zip((1, 2), line.owner.exchanges, strict=True))
    sent, received = {1: b"", 2: b""}, b""
    for who, size, takes in steps:
        number, data = (who - 1) % 2 + 1, content(size)
        pipe = Pipe(data)
        spliced = exchanges[number].splice(pipe.exit, size) if who > 2 else 0
        if spliced < size:
            exchanges[number].write(data[spliced:])
        pipe.close()
        sent[number] += data
        if takes:
            with suppress(BlockingIOError):
                received += line.peer.recv(takes)
            line.owner.poller.dispatch()
    with suppress(BlockingIOError):
        while data := line.peer.recv(1 << 20):
            received += data
            line.owner.poller.dispatch()
    assert outputs(received) == sent
    assert {number: exchanges[number].bytes_out for number in sent} == {n: len(data) for n, data in sent.items()}
    line.close()


def outputs(received: bytes) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    reader = RecordReader()
    for record in reader.feed(received):
        assert record.kind == Kind.STDOUT
        found[record.request_id] += record.content
    assert reader.pending == 0
    return found


def test_a_closed_connection_takes_nothing() -> None:
    line = Line(BEGIN)
    (exchange,) = line.owner.exchanges
    pipe = Pipe(b"late")
    line.session.close()
    assert exchange.splice(pipe.exit, 100) == 0
    assert line.session.splice(1, pipe.exit, 100) == 0
    assert os.read(pipe.exit, 100) == b"late"
    pipe.close()
    line.close()


def test_what_a_socket_takes_in_no_other_way_comes_back(conduit: Conduit, tmp_path: Path) -> None:
    pipe = Pipe(b"content")
    with open(tmp_path / "appended", "ab") as file:  # splice(2): EINVAL for what was opened to append

        class Unspliced:
            fileno = file.fileno

            def send(self, data: bytes, _: int) -> int:
                return len(data)

        assert conduit.fill(pipe.exit, 7) == 7
        assert conduit.forward(HEADER, 7, cast(socket.socket, Unspliced())) == b"content"
    pipe.close()
