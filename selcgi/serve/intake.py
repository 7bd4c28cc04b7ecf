"""The way of a large body past selcgi: out of the web server's socket, into the script's pipe, unread (splice(2)).

Decides when it is taken: while the only request of a connection gets its body in bulk, its script takes that at once,
and nothing of it waits here. Whatever is not so is left to be read, one turn at a time, and on a connection where the
kernel or its policy refuses, for good. Only headers of records are read, which wire/connection.py judges.
Must not know what a record means. Used by serve/session.py, one for each connection that has a large body.
"""

import os
import socket
from collections.abc import Callable, Mapping

from selcgi.serve.exchange import Exchange
from selcgi.wire.connection import Connection

_RECORDS = 8  # of one turn, so that other requests have theirs
_MUCH = 16384  # bytes; for less, a read and a write cost no more than a header's read and a splice(2)


class Intake:
    """`open`: it is worth a try, until that has brought little. `exchanges` are the connection's, by their ids."""

    open = False
    _refused = False

    def __init__(self, connection: Connection, sock: socket.socket, exchanges: Mapping[int, Exchange]) -> None:
        self._connection = connection
        self._sock = sock
        self._exchanges = exchanges

    def take(self, receive: Callable[[bytes], None]) -> int:
        """Hand on what the socket holds, one turn's share: how many bytes. 0 when it must be read. `receive` is given
        what is read of it here and is not the body's."""
        if not self.open or self._refused or len(self._exchanges) != 1:
            return 0
        ((number, exchange),) = self._exchanges.items()
        piece, ahead, behind = self._connection.open_body(number)
        if piece:
            exchange.body.feed(piece)
            exchange.on_input()
        if not ahead and behind:
            receive(self._read(behind))
            _, ahead, behind = self._connection.open_body(number)  # no more than a header has come
        pipe, room = exchange.body.way()
        total, ahead, late = self._pass(pipe, room, ahead, behind)
        self.open = total >= _MUCH
        exchange.body.passed(total)
        if late:
            receive(late)
        if ahead > room - total:  # it is too long, which is found when the rest is read
            return 0
        if total:
            exchange.on_input()
        return total

    def _pass(self, pipe: int, room: int, ahead: int, behind: int) -> tuple[int, int, bytes]:
        """Record by record, what is here: how many bytes, how many are still ahead, and what came behind the last."""
        total, late = 0, b""
        for _ in range(_RECORDS):
            if not 0 < ahead <= room - total:
                break
            size = self._splice(pipe, ahead)
            total += size
            if size < ahead:
                self._connection.body_taken(size)
                ahead -= size
                break
            late = self._read(behind)
            ahead, behind = self._connection.body_goes_on(late)
        return total, ahead, b"" if ahead else late

    def _splice(self, pipe: int, most: int) -> int:
        """0 when there is nothing, or the pipe is full, or nobody reads it any more."""
        try:
            size = os.splice(self._sock.fileno(), pipe, most)
        except (BlockingIOError, BrokenPipeError):
            return 0
        except OSError:
            self._refused = True
            return 0
        return size

    def _read(self, most: int) -> bytes:
        """Nothing, too, when the connection has ended: whoever reads it next sees that."""
        try:
            return self._sock.recv(most)
        except OSError:
            return b""
