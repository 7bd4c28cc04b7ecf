"""The pipes of a script's stdout and stderr, at the worker's end.

Decides which of them is watched, and what counts as the request's own once nothing of it runs any more: others that
have a pipe open may write on to it. Must not know what the bytes mean. One for each request, made by serve/relay.py.
"""

import os

from selcgi.launch.running import Running
from selcgi.serve.poller import Call, Failed, Poller
from selcgi.serve.splicing import PIECE, bytes_in


class Outlets:
    """Owns both descriptors. `open`: those that have not ended."""

    def __init__(self, poller: Poller, running: Running) -> None:
        self._poller = poller
        self.open = {running.stdout, running.stderr}
        self._watched: set[int] = set()
        self._left: dict[int, int] = {}  # bytes that they held by settle()

    def listen(self, descriptor: int, readable: Call, failed: Failed, hangup: Call | None = None) -> None:
        """Call `readable` as soon as there is something, and `hangup` before it once nobody else has the pipe."""
        if descriptor in self.open and descriptor not in self._watched:
            self._poller.add_reader(descriptor, readable, failed, hangup)
            self._watched.add(descriptor)

    def ignore(self, descriptor: int) -> None:
        """Also when it is not watched."""
        if descriptor in self._watched:
            self._poller.remove_reader(descriptor)
            self._watched.discard(descriptor)

    def silence(self) -> None:
        """Neither is watched any more."""
        for descriptor in tuple(self._watched):
            self.ignore(descriptor)

    def read(self, descriptor: int, most: int = PIECE) -> bytes:
        """What there is now; nothing, too, when it has ended: then it is not open any more."""
        try:
            data = os.read(descriptor, most)
        except BlockingIOError:
            return b""
        if not data:
            self.end(descriptor)
        return data

    def settle(self) -> None:
        """Nothing of the request writes on: what they hold now is all."""
        for descriptor in tuple(self.open):
            if left := bytes_in(descriptor):
                self._left[descriptor] = left
            else:
                self.end(descriptor)

    def rest(self, descriptor: int) -> bytes:
        """More of what settle() has seen. It is not open any more when that was the last of it."""
        left = self._left[descriptor]
        data = self.read(descriptor, min(PIECE, left))
        self._left[descriptor] = left = left - len(data)
        if not (data and left) and descriptor in self.open:
            self.end(descriptor)
        return data

    def end(self, descriptor: int) -> None:
        if descriptor in self._watched:
            self.ignore(descriptor)
        self.open.discard(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        for descriptor in tuple(self.open):
            self.end(descriptor)
