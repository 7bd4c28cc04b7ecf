"""What the workers know of one another: a shared page each, written by its worker alone, read by all.

Decides the layout, and that whoever reads a page takes its numbers for what they are: another process's, changing
under the eyes. An identity is a user with the context that its rule gives; its place in a page is found by a hash that
all workers of one supervisor share. Must not decide who is admitted. Made by serve/supervisor.py before it forks, and
by it cleared when a worker has died; written by serve/admission.py.
"""

import mmap
import os
import struct
import time
from enum import IntEnum
from itertools import compress
from typing import NamedTuple

from selcgi.errors import Overloaded
from selcgi.serve.cells import text_of
from selcgi.serve.denialpage import DenialPage
from selcgi.serve.probe import ProbePage
from selcgi.serve.tally import Tally
from selcgi.serve.zygotepage import ZygotePage

IDENTITIES = 4096  # of a page, a power of two
_WINDOW = 32  # places that an identity may be at: that many wait for their turn at one hash before 503
_MASK = (1 << 64) - 1


class Count(IntEnum):
    """The numbers of a page. STARTED is in seconds of CLOCK_MONOTONIC."""

    PID = 0
    GENERATION = 1
    STARTED = 2
    RUNNING = 3
    WAITING = 4


class Identity(NamedTuple):
    """Whom a limit is for: `context` as the rule says it. `user` is None for nobody known."""

    user: str | None
    context: str

    @property
    def key(self) -> int:
        """Never 0, which is a free place. Str hashes are salted once, before the workers are forked."""
        return (hash(self) & _MASK) or 1


class Page:
    """One worker's: its counts, how many requests of each identity it runs now, its tally, what was refused, and its
    warm interpreters."""

    BYTES = 8 * len(Count) + 8 * IDENTITIES + 4 * IDENTITIES + Tally.BYTES + DenialPage.BYTES + ZygotePage.BYTES

    def __init__(self, memory: memoryview) -> None:
        keys = 8 * len(Count)
        running = keys + 8 * IDENTITIES
        tally = running + 4 * IDENTITIES
        denials = tally + Tally.BYTES
        zygotes = denials + DenialPage.BYTES
        self.counts = memory[:keys].cast("Q")
        self._keys = memory[keys:running].cast("Q")
        self._running = memory[running:tally].cast("I")
        self.tally = Tally(memory[tally:denials])
        self.denials = DenialPage(memory[denials:zygotes])
        self.zygotes = ZygotePage(memory[zygotes:])

    def sign(self, generation: int) -> None:
        """By the worker whose page it is from now on."""
        self.counts[Count.PID] = os.getpid()
        self.counts[Count.GENERATION] = generation
        self.counts[Count.STARTED] = int(time.monotonic())

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

    def bury(self, supervisor: "SupervisorPage") -> None:
        """Its worker is dead: nothing of it runs any more. Its totals stay, in the supervisor's own page."""
        supervisor.retired.absorb(self.tally)
        supervisor.denials.absorb(self.denials)
        supervisor.zygotes.absorb(self.zygotes)
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
        start = key % (IDENTITIES - _WINDOW)
        for place in range(start, start + _WINDOW):
            if not self._keys[place]:
                return place
        raise Overloaded("too many users at once for one worker's page", "add --workers", limit="worker")


class SupervisorPage:
    """The supervisor's own: the totals of workers that are gone, and what became of the last reload."""

    _RELOAD = struct.Struct("<d?240s")
    BYTES = Tally.BYTES + DenialPage.BYTES + ZygotePage.BYTES + _RELOAD.size

    def __init__(self, memory: memoryview) -> None:
        denials, zygotes = Tally.BYTES, Tally.BYTES + DenialPage.BYTES
        end = zygotes + ZygotePage.BYTES
        self.retired = Tally(memory[:denials])
        self.denials = DenialPage(memory[denials:zygotes])
        self.zygotes = ZygotePage(memory[zygotes:end])
        self._reload = memory[end:]

    def reloaded(self, when: float, good: bool, text: str) -> None:
        """`when` in seconds since the epoch."""
        self._RELOAD.pack_into(self._reload, 0, when, good, text.encode("utf-8", "replace")[:240])

    def last_reload(self) -> tuple[float, bool, str]:
        when, good, text = self._RELOAD.unpack_from(self._reload)
        return when, good, text_of(text)


class Board:
    """All pages, by the worker's number."""

    def __init__(self, pages: int) -> None:
        own = pages * Page.BYTES
        probe = own + SupervisorPage.BYTES
        self._memory = mmap.mmap(-1, probe + ProbePage.BYTES)
        whole = memoryview(self._memory)
        self.pages = tuple(Page(whole[at : at + Page.BYTES]) for at in range(0, own, Page.BYTES))
        self._words = whole[:own].cast("Q")
        self.supervisor = SupervisorPage(whole[own:probe])
        self.probe = ProbePage(whole[probe:])

    def total(self, count: Count) -> int:
        return sum(self._column(count))

    def running(self, key: int) -> int:
        """Requests of one identity, in all workers."""
        return sum([page.running(key) for page in compress(self.pages, self._column(Count.RUNNING))])

    def _column(self, count: Count) -> list[int]:
        """One number of all pages, which is at their beginning: asked for each request, so without a loop in Python."""
        return self._words[count :: Page.BYTES // 8].tolist()
