"""Whose a connection is that waits to be accepted: the worker's that has fewest.

A web server keeps its connections, so whoever has accepted most of them works most, for as long as they last, while
others wait for work. Decides by what the workers say of themselves on the board. Who has fewest may be stuck all the
same: how long a connection is left to it is the worker's to say. Must not accept. One for each worker, used by
serve/worker.py.
"""

from selcgi.serve.board import Board, Count

_NO_MORE = 1 << 32
_MORE = 2  # and a quarter: as many more than another one may have


class Share:
    """That of worker `number`."""

    def __init__(self, board: Board, number: int) -> None:
        self._pages = board.pages
        self._counts = board.pages[number].counts

    def has(self, connections: int | None) -> None:
        """So many; None when it accepts none now."""
        self._counts[Count.CONNECTIONS] = _NO_MORE if connections is None else connections

    @property
    def is_full(self) -> bool:
        """Another worker has so many fewer that the next should be its."""
        mine = self._counts[Count.CONNECTIONS]
        fewest = min([page.counts[Count.CONNECTIONS] for page in self._pages if page.counts[Count.PID]], default=mine)
        return mine > fewest + fewest // 4 + _MORE
