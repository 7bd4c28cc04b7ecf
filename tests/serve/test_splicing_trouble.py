"""What can't be sent or got back reaches no other answer, whatever a script does to its pipe."""

import errno
import os
import socket
from fcntl import F_SETFL, fcntl

import pytest

from selcgi.serve.exchange import Exchange
from selcgi.serve.splicing import Conduit, bytes_in
from tests.serve.line import BEGIN, Line, unix
from tests.serve.test_splicing import HEADER, MULTIPLEXED, Pipe, connected, content


def test_without_memory_nothing_of_one_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    line = Line(MULTIPLEXED)
    one, other = line.owner.exchanges
    pipe = Pipe(content(60_000))
    line.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    with monkeypatch.context() as patch:
        patch.setattr("selcgi.serve.splicing.os.read", fail)
        splice_much(one, pipe)
    assert line.session.closed
    assert other.aborted
    assert_alone(line.owner.conduit)
    pipe.close()
    line.close()


def splice_much(exchange: Exchange, pipe: Pipe) -> None:
    """More than the socket takes."""
    for _ in range(100):
        os.write(pipe.entry, content(60_000 - bytes_in(pipe.exit)))
        exchange.splice(pipe.exit, 60_000)


def assert_alone(conduit: Conduit) -> None:
    """The next one's record has the next one's bytes."""
    pipe = Pipe(b"of the next")
    with connected(unix) as (ours, peer):
        assert conduit.fill(pipe.exit, 100) == 11
        assert conduit.forward(HEADER, 11, ours) == b""
        assert peer.recv(100) == HEADER + b"of the next"
    pipe.close()


@pytest.mark.parametrize("filled", range(0, 20_000, 2_000))
def test_packets_come_back_whole(conduit: Conduit, filled: int) -> None:
    """A script may make its output one of packets, of which a read(2) brings one: O_DIRECT of pipe(2)."""
    pipe = Pipe()
    fcntl(pipe.entry, F_SETFL, os.O_DIRECT | os.O_NONBLOCK)
    whole = b"".join(b"%d" % (at % 10) * 1000 for at in range(16))
    for at in range(0, len(whole), 1000):
        os.write(pipe.entry, whole[at : at + 1000])
    with connected(unix) as (ours, peer):
        ours.send(b"-" * filled)
        assert conduit.fill(pipe.exit, 60_000) == len(whole)
        unsent = conduit.forward(HEADER, len(whole), ours)
        assert peer.recv(filled + 60_000)[filled:] + unsent == HEADER + whole
    assert_alone(conduit)
    pipe.close()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "of a device"), None], ids=["error", "less"])
def test_what_cannot_be_got_back_ends_the_connection_and_reaches_no_other(
    monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    def broken(*_: object) -> bytes:
        if error is not None:
            raise error
        return b""

    line = Line(BEGIN)
    pipe = Pipe(content(60_000))
    with monkeypatch.context() as patch:
        patch.setattr("selcgi.serve.splicing.os.read", broken)
        splice_much(line.owner.exchanges[0], pipe)
    assert line.session.closed
    assert_alone(line.owner.conduit)
    pipe.close()
    line.close()


def test_a_splice_of_nothing_is_no_endless_loop(conduit: Conduit, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(b"content")
    with connected(unix) as (ours, _):
        assert conduit.fill(pipe.exit, 7) == 7
        monkeypatch.setattr("selcgi.serve.splicing.os.splice", lambda *_: 0)
        assert conduit.forward(HEADER, 7, ours) == b"content"
    pipe.close()


def test_without_descriptors_a_pipe_that_is_not_empty_is_not_used(
    conduit: Conduit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    pipe = Pipe(b"content")
    assert conduit.fill(pipe.exit, 3) == 3
    with monkeypatch.context() as patch:
        patch.setattr("selcgi.serve.splicing.os.pipe2", none_left)
        assert conduit.fill(pipe.exit, 4) == 0
    assert conduit.fill(pipe.exit, 4) == 0, "it is closed"
    assert os.read(pipe.exit, 100) == b"tent", "all of it is there to be read"
    pipe.close()
