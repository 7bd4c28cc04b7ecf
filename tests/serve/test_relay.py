"""How a request ends when its processes go in an order that the kernel seldom shows."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from selcgi.errors import BadResponse, ClientGone, LaunchFailed, SelcgiError
from selcgi.plan import Exit
from selcgi.serve.exchange import Exchange
from selcgi.serve.splicing import bytes_in
from tests.serve.relayed import HEAD, FakeRunning, ended
from tests.stack import wait_until


@pytest.fixture
def running() -> Iterator[FakeRunning]:
    made = FakeRunning()
    yield made
    made.close()


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
    monkeypatch.setattr("selcgi.serve.outlets.os.read", refilled)
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
