"""From the body to the script's stdin, as fast as the script reads and no faster.

Decides when stdin is closed: when the whole body was written, or the script has closed its end, which is no error.
It is never closed because a body broke off: a truncated upload must not look complete. Used by serve/relay.py.
"""

import os
from collections.abc import Callable, Sequence

from selcgi.serve.exchange import Exchange

_IOV_MAX = 1024  # pieces of one writev(2)


class Feeder:
    """Owns the write end `fd` of a script's stdin, non-blocking; -1 means that there is none."""

    def __init__(
        self, exchange: Exchange, fd: int, writable: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        """`writable` is called when a full pipe has room again, and calls push(); `failed` with what it raises."""
        self._poller, self._conduit = exchange.poller, exchange.conduit
        self._fd = fd
        self._body = exchange.body
        self._writable, self._failed = writable, failed
        self._waiting = False
        self.written = 0  # bytes
        if fd < 0:
            self._body.discard()
        else:
            self._body.sink = self

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def push(self) -> None:
        """Write what there is; called when the body has grown and when the pipe has room again."""
        while self._fd >= 0 and self._body.error is None:
            with self._body.peek() as piece:
                size = self._write((piece,)) if piece else -1
            if size < 0:
                self._pause()
            if size <= 0:
                return
            self._body.consume(size)

    def take(self, pieces: Sequence[bytes]) -> int:
        """What has just come, before it is kept: a copy less."""
        taken = self._write(pieces[:_IOV_MAX])
        if self._fd >= 0 and taken < sum(map(len, pieces)):
            self._body.roomy = self._conduit.widen(self._fd)
        return taken

    def pipe(self) -> int:
        """For what is about to come, unread: two copies less."""
        self._body.roomy = self._conduit.widen(self._fd)
        return self._fd

    def passed(self, size: int) -> None:
        self.written += size

    def close(self) -> None:
        """The end of file for the script; what is left of the body is thrown away. The way back to the caller goes too:
        cycles would wait for the garbage collector."""
        if self._fd >= 0:
            self._wait(False)
            self._conduit.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._body.discard()
        self._writable, self._failed = _nothing, _ignore

    def _write(self, pieces: Sequence[bytes | memoryview]) -> int:
        """How much the pipe took: none when it is full, or the script has closed its end."""
        try:
            size = os.writev(self._fd, pieces)
        except BlockingIOError:
            self._wait(True)
            return 0
        except BrokenPipeError:
            self.close()
            return 0
        self.written += size
        return size

    def _pause(self) -> None:
        if self._body.complete:
            self.close()
        else:
            self._wait(False)

    def _wait(self, wanted: bool) -> None:
        if wanted and not self._waiting:
            self._poller.add_writer(self._fd, self._writable, self._failed)
        elif self._waiting and not wanted:
            self._poller.remove_writer(self._fd)
        self._waiting = wanted


def _nothing() -> None:
    return None


def _ignore(_: Exception) -> None:
    return None
