"""What the workers know of one another: a shared page each, written by its worker alone, read by all.

Decides the layout, and that whoever reads a page takes its numbers for what they are: another process's, changing
under the eyes. Requests are counted by their user, and by their user in the context that their rule gives; the place
of a count in a page is found by a hash that all workers of one supervisor share. Must not decide who is admitted. Made
by serve/supervisor.py before it forks, and by it cleared when a worker has died; written by serve/admission.py.
"""

import mmap
import os
import struct
import time
from enum import IntEnum
from itertools import compress

from selcgi.errors import Overloaded
from selcgi.serve.cells import text_of
from selcgi.serve.denialpage import DenialPage
from selcgi.serve.probe import ProbePage
from selcgi.serve.tally import Tally
from selcgi.serve.zygotepage import ZygotePage

PLACES = 8192  # of a page, a power of two; a request takes up to two
_WINDOW = 32  # places that a count may be at: 503 when all of them are of others
_MASK = (1 << 64) - 1


class Count(IntEnum):
    """The numbers of a page. STARTED is in seconds of CLOCK_MONOTONIC. READY is, in milliseconds of it, when one of
    those that wait was last seen to need but a place: no limit of its user's holds it. 0: none of them. CONNECTIONS is
    serve/share.py's."""

    PID = 0
    GENERATION = 1
    STARTED = 2
    RUNNING = 3
    WAITING = 4
    READY = 5
    CONNECTIONS = 6


class Identity:
    """Whom a limit is for: `context` as the rule says it. `user` is None for nobody known. `keys`: of the user, and of
    the user in this context; never 0, which is a free place. Hashes of str are salted once, before the fork."""

    __slots__ = ("context", "keys", "user")

    def __init__(self, user: str | None, context: str) -> None:
        self.user, self.context = user, context
        self.keys = (hash((user,)) & _MASK) or 1, (hash((user, context)) & _MASK) or 1


class Page:
    """One worker's: its counts, how many requests it runs now by each key of an Identity, its tally, what was refused,
    and its warm interpreters."""

    BYTES = 8 * len(Count) + 8 * PLACES + 4 * PLACES + Tally.BYTES + DenialPage.BYTES + ZygotePage.BYTES

    def __init__(self, memory: memoryview) -> None:
        keys = 8 * len(Count)
        running = keys + 8 * PLACES
        tally = running + 4 * PLACES
        denials = tally + Tally.BYTES
        zygotes = denials + DenialPage.BYTES
        self._own: dict[int, int] = {}  # places of the keys that this process has added
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
        place = self._own.get(key)
        if place is None:
            place = self._find(key)
        return 0 if place is None else self._running[place]

    def add(self, who: Identity) -> None:
        """One more. Overloaded when a window is full of others."""
        own, running = self._own, self._running
        user, in_context = who.keys
        if user not in own or in_context not in own:
            self._place(who.keys)
        running[own[user]] += 1
        running[own[in_context]] += 1
        self.counts[Count.RUNNING] += 1

    def remove(self, who: Identity) -> None:
        own, running = self._own, self._running
        for key in who.keys:
            place = own[key]
            running[place] -= 1
            if not running[place]:
                self._keys[place] = 0
                del own[key]
        self.counts[Count.RUNNING] -= 1

    def _place(self, keys: tuple[int, int]) -> None:
        """Places for those that have none. Overloaded, and nothing has changed then."""
        placed: list[int] = []
        try:
            for key in keys:
                if key not in self._own:
                    self._own[key] = place = self._free(key)
                    self._keys[place] = key
                    placed.append(key)
        except Overloaded:
            for key in placed:
                self._keys[self._own.pop(key)] = 0
            raise

    def bury(self, supervisor: "SupervisorPage") -> None:
        """Its worker is dead: nothing of it runs any more. Its totals stay, in the supervisor's own page."""
        supervisor.retired.absorb(self.tally)
        supervisor.denials.absorb(self.denials)
        supervisor.zygotes.absorb(self.zygotes)
        self._own.clear()
        for column in (self.counts, self._keys, self._running):
            for place, value in enumerate(column):
                if value:
                    column[place] = 0

    def _find(self, key: int) -> int | None:
        start = key % (PLACES - _WINDOW)
        try:
            return start + self._keys[start : start + _WINDOW].tolist().index(key)
        except ValueError:
            return None

    def _free(self, key: int) -> int:
        start = key % (PLACES - _WINDOW)
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
        # One number of all pages, which is at their beginning: asked for each request, so without a loop in Python.
        self._columns = tuple(whole[:own].cast("Q")[count :: Page.BYTES // 8] for count in Count)
        self.supervisor = SupervisorPage(whole[own:probe])
        self.probe = ProbePage(whole[probe:])

    def total(self, count: Count) -> int:
        return sum(self._columns[count].tolist())

    def running(self, key: int) -> int:
        """Requests of one key, in all workers."""
        number = 0
        for page in compress(self.pages, self._columns[Count.RUNNING].tolist()):
            number += page.running(key)
        return number
