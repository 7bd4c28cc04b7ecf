"""A web server, a session, and a script that reads when the test has it read. Used by tests/serve."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.feeder import Feeder
from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN, SETTINGS, Line, Loop, Owner

SPOOLED = replace(SETTINGS, body_memory_bytes=30_000, spool=Path("/var/tmp"))
LIMIT = 4 << 20
MUCH = 1_000_000  # bytes: more than socket, pipe and memory hold


class TimedLoop(Loop):
    """Its timers go off when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []

    def call_later(self, _: float, call: Callable[[], None]) -> "TimedLoop":
        self.timers = [call]
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def ring(self) -> bool:
        for call in list(self.timers):
            call()
            return True
        return False


class Uploads(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.timed = TimedLoop()
        self.loop = cast(Any, self.timed)
        self.space = SpoolSpace(LIMIT)

    def body(self) -> Body:
        return Body(SPOOLED, self.space, LIMIT)


class Upload(Line):
    """A web server, a session, and a script that reads when the test has it read."""

    owner: Uploads

    def __init__(self) -> None:
        super().__init__(BEGIN, Uploads())
        (self.exchange,) = self.owner.exchanges
        self.stdin, entry = os.pipe2(os.O_NONBLOCK)
        self.feeder = Feeder(self.exchange, entry, self.push, self.failed)
        self.exchange.on_input = self.push
        self.read = b""
        self.left = b""

    @property
    def body(self) -> Body:
        return self.exchange.body

    def push(self) -> None:
        self.feeder.push()

    def failed(self, error: Exception) -> None:
        raise error

    def send(self, data: bytes) -> None:
        """What the socket takes of it now, and the rest with the next."""
        self.left += data
        with suppress(BlockingIOError):
            while self.left:
                self.left = self.left[self.peer.send(self.left) :]

    def turn(self) -> None:
        self.owner.poller.dispatch()

    def script_reads(self, most: int) -> None:
        with suppress(BlockingIOError):
            self.read += os.read(self.stdin, most)

    def finish(self) -> None:
        """Until the script has read to the end."""
        for _ in range(10_000):
            self.send(b"")
            self.turn()
            self.script_reads(1 << 20)
            if self.feeder.closed and not self.left:
                break
        while piece := os.read(self.stdin, 1 << 20):
            self.read += piece

    def close(self) -> None:
        self.feeder.close()
        with suppress(OSError):
            os.close(self.stdin)
        super().close()
        self.body.close()


def content(size: int, start: int) -> bytes:
    return bytes((start + at) * 7 % 251 for at in range(size))


def fill(upload: Upload, size: int = MUCH) -> None:
    """Records until the pipe is full and something is kept."""
    upload.send(b"".join(encode_record(Kind.STDIN, 1, content(20_000, at)) for at in range(0, size, 20_000)))
    for _ in range(100):
        upload.send(b"")
        upload.turn()
