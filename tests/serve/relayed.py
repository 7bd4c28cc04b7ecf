"""A script of which the test decides everything, and a relay that serves it to no web server."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

from selcgi.plan import Exit, Limits
from selcgi.serve.answer import Answer
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Connected, Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.relay import Relay
from selcgi.serve.rounds import Rounds
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings

HEAD = b"Content-Type: text/plain\n\n"


class FakeRunning:
    """A script whose fate the test decides. `wake` is readable from the first, as of a script that has ended; without
    `watched`, it is there only after a poll() that finds no end."""

    def __init__(self, watched: bool = True) -> None:
        self.pid = self.root = 1
        self.cgroup = ""
        self.warm = False
        self.stdin = -1
        self.stdout, self.writes = os.pipe()
        self.stderr, self.complains = os.pipe()
        self.wake = os.eventfd(1, os.EFD_NONBLOCK) if watched else -1
        self.exit: Exit | None = None
        self.gone = False
        self.confirmed = True
        self.short_of_descriptors = False
        self.met = ""
        self.spliced = 0  # bytes of its output
        self.on_poll: Callable[[], None] = lambda: None
        self.on_kill: Callable[[], None] = lambda: None
        for descriptor in (self.stdout, self.stderr):
            os.set_blocking(descriptor, False)

    def poll(self) -> None:
        if self.wake >= 0:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.wake)
        self.on_poll()
        if self.wake < 0 and not self.short_of_descriptors:
            self.wake = os.eventfd(0, os.EFD_NONBLOCK)

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


def ended(
    running: FakeRunning, linger: float, later: Callable[[Exchange], None] = lambda _: None, after: float = 0.1
) -> bytes:
    """The answer of a whole request; `later` is called `after` so many seconds. The deadline only keeps a broken relay
    from hanging the tests."""

    async def run() -> bytes:
        settings = Settings(linger_seconds=linger)
        session = Session()
        loop = asyncio.get_running_loop()
        loop.add_reader(session.poller.fileno(), session.poller.dispatch)
        held = (running.stdout, running.stderr, running.wake)
        copies = [os.dup(each) for each in held if each >= 0]  # as a child has at first
        body = Body(settings, SpoolSpace(0), 0)
        exchange = Exchange(cast(Connected, session), 1, (), body)
        relay = Relay(running, exchange, Answer(1000, False), Limits(), settings)
        loop.call_later(after, later, exchange)
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
