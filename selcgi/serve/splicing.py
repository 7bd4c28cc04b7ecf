"""Bytes from a script's pipe to a socket without a copy through this process (splice(2)).

Decides how: by a pipe of its own in between, so that what a record's header promises can't be taken out of the
script's pipe again by somebody else who has it open. One does for all connections of a worker, so it must be empty
before each use, by the kernel's word: a byte left in it would be in another's answer. Decides too which pipes hold
more than others, so that both their ends can work at once. Must not know records or requests. Made by serve/worker.py,
used by serve/session.py and serve/bypass.py.
"""

import errno
import fcntl
import os
import socket
import sys
from contextlib import suppress
from termios import FIONREAD

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
            if bytes_in(self._exit):  # an error has left them
                self._renew()
            return os.splice(pipe, self._entry, most)
        except OSError:
            return 0

    def forward(self, header: bytes, size: int, sock: socket.socket) -> bytes:
        """Send `header` and the `size` bytes that fill() took; what the socket did not take of both is returned.

        Nothing when the peer is gone: whoever reads the socket next sees it. OSError when what was taken can't be
        got back: of this connection, nothing may follow.
        """
        unsent = header
        try:
            unsent = header[sock.send(header, socket.MSG_MORE) :]
            while size and not unsent and (moved := os.splice(self._exit, sock.fileno(), size)):
                size -= moved
        except ConnectionError:
            return b""
        except OSError:  # it is full, or takes none in this way: what is sent next tells
            pass
        return unsent + self._take_back(size)

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

    def _take_back(self, size: int) -> bytes:
        """All of it: where the script has made packets of its output (O_DIRECT of pipe(2)), each read brings one."""
        pieces = []
        while size:
            piece = os.read(self._exit, size)
            if not piece:
                raise OSError(errno.EIO, "a pipe held less than was put into it")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _renew(self) -> None:
        self.close()
        self._exit, self._entry = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


def bytes_in(pipe: int) -> int:
    """How many bytes a pipe holds (FIONREAD of pipe(7)). OSError when it is none."""
    if pipe < 0:
        raise OSError(errno.EBADF, "the pipe is closed")
    return int.from_bytes(fcntl.ioctl(pipe, FIONREAD, bytes(4)), sys.byteorder)
