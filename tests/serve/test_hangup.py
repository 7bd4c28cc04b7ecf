"""The end of most scripts is that of their stdout: what is watched besides, and from when on."""

import asyncio
import errno
import os
import time
from collections.abc import Iterator

import pytest

from selcgi.errors import ClientGone, SelcgiError
from selcgi.plan import Exit
from selcgi.serve.exchange import Exchange
from selcgi.serve.phase import UNKILLABLE_SECONDS
from selcgi.serve.poller import Call, Failed, Poller
from tests.serve.relayed import HEAD, FakeRunning, ended


@pytest.fixture
def running() -> Iterator[FakeRunning]:
    made = FakeRunning(watched=False)
    yield made
    if made.wake >= 0:
        made.close()


def close(*descriptors: int) -> None:
    for each in descriptors:
        os.close(each)


def test_a_script_that_ends_with_its_stdout_is_polled_once(running: FakeRunning) -> None:
    polls: list[float] = []

    def dies() -> None:
        polls.append(time.monotonic())
        running.exit, running.gone = Exit(0, None, 0.0, 0), True

    running.on_poll = dies
    os.write(running.writes, HEAD + b"whole")
    close(running.writes, running.complains)
    assert ended(running, 20).endswith(b"whole")
    assert len(polls) == 1


@pytest.mark.parametrize("others", ["nobody has stdout", "a child has stdout"])
def test_a_script_that_goes_on_is_watched(running: FakeRunning, others: str) -> None:
    """One that closes its stdout from that on; any other from the first round on, so that its end is seen though what
    it has started holds its stdout."""
    polls: list[int] = []

    def looks() -> None:
        polls.append(running.wake)
        if running.wake >= 0:
            running.exit, running.gone = Exit(0, None, 0.0, 0), True

    def dies(exchange: Exchange) -> None:
        if running.wake < 0:
            asyncio.get_running_loop().call_later(0.05, dies, exchange)
        else:
            os.eventfd_write(running.wake, 1)

    running.on_poll = looks
    os.write(running.writes, HEAD + b"whole")
    if others == "nobody has stdout":
        close(running.writes)
    assert ended(running, 20, dies).endswith(b"whole")
    assert polls[0] == -1
    assert len(polls) == 2
    close(running.complains, *((running.writes,) if others == "a child has stdout" else ()))


def test_a_client_that_leaves_at_once_has_the_script_ended_and_its_end_seen(running: FakeRunning) -> None:
    """It is asked to end before anything of it was watched."""

    def asked() -> None:
        running.exit, running.gone = Exit(None, 15, 0.0, 0), True

    def killed() -> None:
        assert running.wake >= 0
        running.on_poll = asked

    running.on_kill = killed
    with pytest.raises(ClientGone):
        ended(running, 20, lambda exchange: exchange.abort(unsent=False), 0.0)
    close(running.writes, running.complains)


def test_what_could_not_be_watched_is_tried_again_in_each_round(running: FakeRunning) -> None:
    """No descriptor is left for a moment, in which the script ends and leaves another with its stdout."""
    polls: list[int] = []

    def looks() -> None:
        polls.append(running.wake)
        if len(polls) == 3:
            running.exit, running.gone = Exit(0, None, 0.0, 0), True
        running.short_of_descriptors = len(polls) < 3

    running.on_poll = looks
    os.write(running.writes, HEAD + b"whole")
    assert ended(running, 20).endswith(b"whole")
    assert polls == [-1, -1, -1]
    close(running.writes, running.complains)


def test_where_its_end_can_not_be_watched_the_request_ends(
    running: FakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, tries = Poller.add_end, iter([True])

    def full(self: Poller, descriptor: int, call: Call, failed: Failed | None = None) -> None:
        if next(tries, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, descriptor, call, failed)

    def killed() -> None:
        running.exit, running.gone = Exit(None, 9, 0.0, 0), False
        running.on_poll = gone

    def gone() -> None:
        running.gone = next(looks, True)
        os.eventfd_write(running.wake, 1)

    looks = iter([False])
    monkeypatch.setattr(Poller, "add_end", full)
    running.on_kill = killed
    os.write(running.writes, HEAD)
    began = time.monotonic()
    with pytest.raises(SelcgiError, match="No space left on device"):
        ended(running, 20)
    assert time.monotonic() - began < UNKILLABLE_SECONDS
    close(running.writes, running.complains)
