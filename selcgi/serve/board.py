"""What the workers know of one another: a shared page each, written by its worker alone, read by all.

Decides the layout, and that whoever reads a page takes its numbers for what they are: another process's, changing
under the eyes. An identity is a user with the context that its rule gives; its place in a page is found by a hash that
all workers of one supervisor share. Must not decide who is admitted. Made by serve/supervisor.py before it forks, and
by it cleared when a worker has died; written by serve/admission.py.
"""

import mmap
from dataclasses import dataclass
from enum import IntEnum

from selcgi.errors import Overloaded

IDENTITIES = 4096  # of a page, a power of two
_WINDOW = 32  # places that an identity may be at: that many wait for their turn at one hash before 503
_MASK = (1 << 64) - 1


class Count(IntEnum):
    """The numbers of a page."""

    PID = 0
    RUNNING = 1
    WAITING = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a limit is for: `context` as the rule says it. `user` is None for nobody known."""

    user: str | None
    context: str

    @property
    def key(self) -> int:
        """Never 0, which is a free place. Str hashes are salted once, before the workers are forked."""
        return (hash(self) & _MASK) or 1


class Page:
    """One worker's: its counts, and how many requests of each identity it runs now."""

    BYTES = 8 * len(Count) + 8 * IDENTITIES + 4 * IDENTITIES

    def __init__(self, memory: memoryview) -> None:
        counts, keys = 8 * len(Count), 8 * IDENTITIES
        self.counts = memory[:counts].cast("Q")
        self._keys = memory[counts : counts + keys].cast("Q")
        self._running = memory[counts + keys :].cast("I")

    def running(self, key: int) -> int:
        place = self._find(key)
        return 0 if place is None else self._running[place]

    def add(self, key: int) -> None:
        """One more. Overloaded when its window is full of others."""
        place = self._find(key)
        if place is None:
            place = self._free(key)
            self._keys[place] = key
        self._running[place] += 1
        self.counts[Count.RUNNING] += 1

    def remove(self, key: int) -> None:
        place = self._find(key)
        assert place is not None, "removed what was not added"
        self._running[place] -= 1
        if not self._running[place]:
            self._keys[place] = 0
        self.counts[Count.RUNNING] -= 1

    def clear(self) -> None:
        """Its worker is dead: nothing of it runs any more."""
        for column in (self.counts, self._keys, self._running):
            for place, value in enumerate(column):
                if value:
                    column[place] = 0

    def _find(self, key: int) -> int | None:
        start = key % (IDENTITIES - _WINDOW)
        try:
            return start + self._keys[start : start + _WINDOW].tolist().index(key)
        except ValueError:
            return None

    def _free(self, key: int) -> int:
        place = self._find_free(key % (IDENTITIES - _WINDOW))
        if place is None:
            raise Overloaded("too many users at once for one worker's page", "add --workers", limit="worker")
        return place

    def _find_free(self, start: int) -> int | None:
        return next((place for place in range(start, start + _WINDOW) if not self._keys[place]), None)


class Board:
    """All pages, by the worker's number."""

    def __init__(self, pages: int) -> None:
        self._memory = mmap.mmap(-1, pages * Page.BYTES)
        whole = memoryview(self._memory)
        self.pages = tuple(Page(whole[at : at + Page.BYTES]) for at in range(0, len(whole), Page.BYTES))

    def total(self, count: Count) -> int:
        return sum(page.counts[count] for page in self.pages)

    def running(self, key: int) -> int:
        """Requests of one identity, in all workers."""
        return sum(page.running(key) for page in self.pages if page.counts[Count.RUNNING])
