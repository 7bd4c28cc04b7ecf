"""Bytes from a script's pipe to a socket without a copy through this process (splice(2)).

Decides how: by a pipe of its own in between, so that what a record's header promises can't be taken out of the
script's pipe again by somebody else who has it open. The pipe is empty between two calls, so one does for all
connections of a worker. Decides too which pipes hold more than others, so that both their ends can work at once.
Must not know records or requests. Made by serve/worker.py, used by serve/session.py and serve/bypass.py.
"""

import fcntl
import os
import socket
from contextlib import suppress

PIECE = 64 << 10  # bytes that a pipe holds (pipe(7)), so many are read at a time
WIDE = 256 << 10  # bytes that a widened pipe holds
_MOST_WIDE = 16  # at a time: 4 MiB of the 64 MiB that a user's pipes may hold by default


class Conduit:
    """Owns the pipe. What a kernel can't splice is no error: the caller reads it, or gets it back, as bytes."""

    def __init__(self) -> None:
        self._exit, self._entry = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wide: set[int] = set()

    def close(self) -> None:
        """Then fill() takes nothing."""
        ends, self._exit, self._entry = (self._exit, self._entry), -1, -1
        for end in filter(lambda each: each >= 0, ends):
            os.close(end)

    def fill(self, pipe: int, most: int) -> int:
        """Take up to `most` bytes out of a pipe: how many. 0 when it holds none, has ended, or must be read."""
        try:
            return os.splice(pipe, self._entry, most)
        except OSError:
            return 0

    def forward(self, header: bytes, size: int, sock: socket.socket) -> bytes:
        """Send `header` and the `size` bytes that fill() took; what the socket did not take of both is returned.

        Nothing when the peer is gone: whoever reads the socket next sees it. Where memory is short, what is lost here
        must not be the beginning of another's: the conduit is closed.
        """
        try:
            return self._forward(header, size, sock)
        except MemoryError:
            self.close()
            raise

    def _forward(self, header: bytes, size: int, sock: socket.socket) -> bytes:
        unsent = header
        try:
            unsent = header[sock.send(header, socket.MSG_MORE) :]
            while size and not unsent:
                size -= os.splice(self._exit, sock.fileno(), size)
        except ConnectionError:
            self._read(size)
            return b""
        except OSError:  # it is full, or takes none in this way: what is sent next tells
            pass
        return unsent + self._read(size)

    def widen(self, pipe: int) -> bool:
        """Let a pipe hold more, until forget(): a few at a time, and the kernel may refuse. What all pipes of a user
        hold is bounded, and beyond that new ones are of two pages (pipe(7)). Whether it is wide."""
        if pipe not in self._wide and len(self._wide) < _MOST_WIDE:
            with suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE)
                self._wide.add(pipe)
        return pipe in self._wide

    def forget(self, pipe: int) -> None:
        """It is about to be closed."""
        self._wide.discard(pipe)

    def _read(self, size: int) -> bytes:
        return os.read(self._exit, size) if size else b""
