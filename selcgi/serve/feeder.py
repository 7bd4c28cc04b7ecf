"""From the body to the script's stdin, as fast as the script reads and no faster.

Decides when stdin is closed: when the whole body was written, or the script has closed its end, which is no error.
It is never closed because a body broke off: a truncated upload must not look complete. Used by serve/relay.py.
"""

import os
from collections.abc import Callable

from selcgi.serve.body import Body
from selcgi.serve.poller import Poller


class Feeder:
    """Owns the write end `fd` of a script's stdin, non-blocking; -1 means that there is none."""

    def __init__(self, poller: Poller, fd: int, body: Body, writable: Callable[[], None]) -> None:
        """`writable` is called when a full pipe has room again; it calls push()."""
        self._poller = poller
        self._fd = fd
        self._body = body
        self._writable = writable
        self._waiting = False
        self.written = 0  # bytes
        if fd < 0:
            body.discard()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def push(self) -> None:
        """Write what there is; called when the body has grown and when the pipe has room again."""
        while self._fd >= 0 and self._body.error is None:
            piece = self._body.peek()
            if not piece:
                self._pause()
                return
            if not self._write(piece):
                return

    def close(self) -> None:
        """The end of file for the script; what is left of the body is thrown away. The way back to the caller goes too:
        cycles would wait for the garbage collector."""
        if self._fd >= 0:
            self._wait(False)
            os.close(self._fd)
            self._fd = -1
            self._body.discard()
        self._writable = _nothing

    def _write(self, piece: bytes) -> bool:
        try:
            size = os.write(self._fd, piece)
        except BlockingIOError:
            self._wait(True)
            return False
        except BrokenPipeError:
            self.close()
            return False
        self._body.consume(size)
        self.written += size
        return True

    def _pause(self) -> None:
        if self._body.complete:
            self.close()
        else:
            self._wait(False)

    def _wait(self, wanted: bool) -> None:
        if wanted and not self._waiting:
            self._poller.add_writer(self._fd, self._writable)
        elif self._waiting and not wanted:
            self._poller.remove_writer(self._fd)
        self._waiting = wanted


def _nothing() -> None:
    return None
