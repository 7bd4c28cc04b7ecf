"""How a request ends when its processes go in an order that the kernel seldom shows."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from selcgi.errors import BadResponse, ClientGone, LaunchFailed, SelcgiError
from selcgi.plan import Exit, Limits
from selcgi.serve.answer import Answer
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Connected, Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.relay import Relay
from selcgi.serve.rounds import Rounds
from selcgi.serve.splicing import Conduit, bytes_in
from selcgi.settings import ListenerSettings, Settings
from tests.stack import wait_until

HEAD = b"Content-Type: text/plain\n\n"


class FakeRunning:
    """A script whose fate the test decides. `wake` is readable from the first, as of a script that has ended."""

    def __init__(self) -> None:
        self.pid = self.root = 1
        self.cgroup = ""
        self.warm = False
        self.stdin = -1
        self.stdout, self.writes = os.pipe()
        self.stderr, self.complains = os.pipe()
        self.wake = os.eventfd(1)
        self.exit: Exit | None = None
        self.gone = False
        self.confirmed = True
        self.met = ""
        self.spliced = 0  # bytes of its output
        self.on_poll: Callable[[], None] = lambda: None
        self.on_kill: Callable[[], None] = lambda: None
        for descriptor in (self.stdout, self.stderr):
            os.set_blocking(descriptor, False)

    def poll(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        self.on_poll()

    def waited_for(self, pid: int, when: float) -> bool:  # noqa: ARG002
        return False

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.on_kill()

    def close(self) -> None:
        os.close(self.wake)


class Session:
    """Of no web server."""

    listener = ListenerSettings("none")
    tcp = blocked = False

    def __init__(self) -> None:
        self.poller, self.conduit, self.rounds = Poller(), Conduit(), Rounds()
        self.sent = b""
        self.spliced = 0

    def write(self, _: int, data: bytes) -> None:
        self.sent += data

    def write_stderr(self, _: int, data: bytes) -> None:
        assert data

    def splice(self, _: int, pipe: int, most: int) -> int:
        size = self.conduit.fill(pipe, min(most, 65528))
        self.spliced += size
        self.sent += os.read(self.conduit._exit, size) if size else b""
        return size


@pytest.fixture
def running() -> Iterator[FakeRunning]:
    made = FakeRunning()
    os.set_blocking(made.wake, False)
    yield made
    made.close()


def ended(running: FakeRunning, linger: float, later: Callable[[Exchange], None] = lambda _: None) -> bytes:
    """The answer of a whole request; the deadline only keeps a broken relay from hanging the tests."""

    async def run() -> bytes:
        settings = Settings(linger_seconds=linger)
        session = Session()
        loop = asyncio.get_running_loop()
        loop.add_reader(session.poller.fileno(), session.poller.dispatch)
        copies = [os.dup(each) for each in (running.stdout, running.stderr, running.wake)]  # as a child has at first
        body = Body(settings, SpoolSpace(0), 0)
        exchange = Exchange(cast(Connected, session), 1, (), body)
        relay = Relay(running, exchange, Answer(1000, False), Limits(), settings)
        loop.call_later(0.1, later, exchange)
        try:
            await asyncio.wait_for(relay.run(), 20)
            assert "tfd:" not in Path(f"/proc/self/fdinfo/{session.poller.fileno()}").read_text(), "it is still told of"
        finally:
            for each in copies:
                os.close(each)
            loop.remove_reader(session.poller.fileno())
            session.poller.close()
        exchange.flush()
        running.spliced = session.spliced
        return session.sent

    return asyncio.run(run())


def test_what_is_gone_at_the_kill_ends_the_request_at_once(running: FakeRunning) -> None:
    def exits() -> None:
        running.exit = Exit(0, None, 0.0, 0)

    def dies() -> None:
        running.gone = True

    running.on_poll, running.on_kill = exits, dies
    os.write(running.writes, HEAD + b"whole")
    os.close(running.writes)
    # The last output that was held open ends, and the kill follows, when all else has been read.
    assert ended(running, 20, lambda _: os.close(running.complains)).endswith(b"whole")


@pytest.mark.parametrize("at", ["kill", "poll"])
def test_what_fails_at_the_kill_fails_the_request(running: FakeRunning, at: str) -> None:
    def exits() -> None:
        running.exit = Exit(0, None, 0.0, 0)

    def dies() -> None:
        running.gone = True

    def fails() -> None:
        running.on_poll = dies
        os.eventfd_write(running.wake, 1)
        raise LaunchFailed("guard", "killed")

    def killed() -> None:
        running.on_poll = fails
        if at == "kill":
            fails()

    running.on_poll, running.on_kill = exits, killed
    os.write(running.writes, HEAD + b"whole")
    with pytest.raises(SelcgiError, match="killed"):
        ended(running, 0.01)
    os.close(running.writes)
    os.close(running.complains)


@pytest.mark.parametrize("length", [None, 100_000, 199_000, 200_000])
def test_much_output_goes_out_unread_but_not_a_byte_beyond_its_length(running: FakeRunning, length: int | None) -> None:
    """The head and the first of the body are read; what follows is spliced, up to the promise."""

    def writes() -> None:
        head = HEAD if length is None else b"Content-Length: %d\n" % length + HEAD
        left = memoryview(head + bytes(at % 251 for at in range(200_000)))
        while left:
            left = left[os.write(running.writes, left) :]
        os.close(running.writes)
        os.close(running.complains)
        running.exit = Exit(0, None, 0.0, 0)
        os.eventfd_write(running.wake, 1)

    def dies() -> None:
        running.gone = True

    running.on_kill = dies
    thread = threading.Thread(target=writes)
    thread.start()
    whole = ended(running, 20)
    thread.join()
    assert running.spliced > 0
    assert whole.partition(b"\r\n\r\n")[2] == bytes(at % 251 for at in range(200_000))[:length]


@pytest.mark.parametrize("name", ["writes", "complains"])
def test_what_another_request_writes_on_for_ever_is_not_read_for_ever(
    running: FakeRunning, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A script may pass its output on to one that outlives it (SCM_RIGHTS of unix(7))."""
    pipe, turns = getattr(running, name), iter(range(100))
    read = os.read

    def dies() -> None:
        running.exit, running.gone = Exit(0, None, 0.0, 0), True

    def refilled(descriptor: int, most: int) -> bytes:
        data = read(descriptor, most)
        if running.gone:
            next(turns)  # a bound that the loop has not
            with contextlib.suppress(BrokenPipeError):  # selcgi has done with it
                os.write(pipe, b"more")
        return data

    running.on_poll = dies
    os.write(running.writes, b"Content-Length: 5\n" + HEAD + b"whole")
    os.write(running.complains, b"a line\n")
    monkeypatch.setattr("selcgi.serve.relay.os.read", refilled)
    assert ended(running, 20).endswith(b"\r\n\r\nwhole")
    os.close(running.writes)
    os.close(running.complains)


@pytest.mark.parametrize("left", ["with all of it", "without the end", "in the middle"])
def test_who_leaves_with_the_whole_answer_does_not_end_the_script(running: FakeRunning, left: str) -> None:
    """It may still have work to do, and a web server leaves as soon as it has what it promised its client."""
    done: list[str] = []

    def dies() -> None:
        running.exit, running.gone = Exit(0, None, 0.0, 0), True

    def leaves(exchange: Exchange) -> None:
        exchange.disconnected("the client left", unsent=left == "without the end")
        done.append("killed" if running.gone else "goes on")
        running.on_poll = dies
        os.eventfd_write(running.wake, 1)

    running.on_kill = dies
    os.write(running.writes, b"Content-Length: %d\n" % (6 if left == "in the middle" else 5) + HEAD + b"whole")
    with contextlib.nullcontext() if left == "with all of it" else pytest.raises(ClientGone):
        ended(running, 20, leaves)
    assert done == ["goes on" if left == "with all of it" else "killed"]
    os.close(running.writes)
    os.close(running.complains)


def test_what_wakes_may_be_another_once_the_script_has_ended(running: FakeRunning) -> None:
    """Its end is told by one descriptor, that of its descendants by another; the first stays readable."""
    first, polls = running.wake, 0

    def ends() -> None:
        nonlocal polls
        polls += 1
        if running.exit is None:
            running.exit = Exit(0, None, 0.0, 0)
            running.wake = os.eventfd(0)
            os.eventfd_write(first, 1)
            asyncio.get_running_loop().call_later(0.2, os.eventfd_write, running.wake, 1)
        else:
            running.gone = True

    running.on_poll = ends
    os.write(running.writes, HEAD + b"whole")
    assert ended(running, 20).endswith(b"\r\n\r\nwhole")
    assert polls == 2
    for descriptor in (first, running.writes, running.complains):
        os.close(descriptor)


def test_stderr_is_read_while_the_script_runs(running: FakeRunning) -> None:
    """From the first round on: most scripts have ended by then."""

    def ends() -> None:
        running.exit, running.gone = Exit(0, None, 0.0, 0), True

    def writes() -> None:
        os.write(running.writes, HEAD + b"whole")
        os.write(running.complains, b"a line\n")
        wait_until("the line is read", lambda: not bytes_in(running.stderr))
        running.on_poll = ends
        os.eventfd_write(running.wake, 1)

    thread = threading.Thread(target=writes)
    thread.start()
    assert ended(running, 20).endswith(b"\r\n\r\nwhole")
    thread.join()
    os.close(running.writes)
    os.close(running.complains)


def test_what_a_script_said_before_it_failed_is_logged(running: FakeRunning, caplog: pytest.LogCaptureFixture) -> None:
    def dies() -> None:
        running.exit, running.gone = Exit(None, 9, 0.0, 0), True

    caplog.set_level("INFO", "selcgi")
    running.on_kill = dies
    os.write(running.complains, b"no configuration\n")
    os.write(running.writes, b"no head\n\n")
    with pytest.raises(BadResponse):
        ended(running, 20)
    assert "no configuration" in caplog.text
    os.close(running.writes)
    os.close(running.complains)
