"""What a worker's page says of its warm interpreters: how many there were, and a row for each that is there.

Decides how much is kept: a fixed number of rows of a fixed size, long names cut; of those that have ended the last few,
with the reason. A zygote too many is counted but not shown. A reader may see a row half written. Written by
serve/zygoterows.py in its worker, read by serve/status.py.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from selcgi.serve.cells import cut, text_of

ROWS = 256  # of those that are there: --warm-zygotes is at most so many
_ENDED = 8
_ROW = struct.Struct("<BIdQ96s32s96s200s200s")
_REQUESTS, _REQUESTS_AT = struct.Struct("<Q"), struct.calcsize("<BId")
_STATES = ("", "starting", "ready", "retiring", "ended")  # of launch/zygote.py; a row without one is free


class Warmed(IntEnum):
    """The counts."""

    STARTS = 0
    FAILURES = 1  # zygotes that could not start, or ended by themselves or of a signal
    REQUESTS = 2  # that got their process from a zygote, however many they were lent to
    RETRIES = 3  # requests whose first zygote was gone
    COLD = 4  # requests that --warm-fallback gave a fresh program


@dataclass(frozen=True, slots=True)
class Row:
    """One zygote. `since` is of the clock CLOCK_MONOTONIC, in seconds: its start, or its end when it has ended."""

    state: str
    pid: int
    since: float
    requests: int
    domain: str
    account: str  # empty: that of scripts
    application: str  # of plan.Warm
    script: str
    why: str


class ZygotePage:
    """One worker's."""

    BYTES = 8 * len(Warmed) + (ROWS + _ENDED) * _ROW.size

    def __init__(self, memory: memoryview) -> None:
        counts = 8 * len(Warmed)
        self.counts = memory[:counts].cast("Q")
        self._rows = memory[counts:]
        self._free = list(reversed(range(ROWS)))
        self._ended = 0

    def add(self, row: Row) -> int:
        """Its place, -1 when none is free."""
        place = self._free.pop() if self._free else -1
        self.put(place, row)
        return place

    def put(self, place: int, row: Row) -> None:
        """In the place that add() gave."""
        if place >= 0:
            names = (row.domain, row.account, row.application, row.script, row.why)
            texts = (cut(text, most) for text, most in zip(names, (96, 32, 96, 200, 200), strict=True))
            head = (_STATES.index(row.state), row.pid, row.since, row.requests)
            _ROW.pack_into(self._rows, place * _ROW.size, *head, *texts)

    def served(self, place: int, requests: int) -> None:
        """Of the one there: told for each request, so without the rest of its row."""
        if place >= 0:
            _REQUESTS.pack_into(self._rows, place * _ROW.size + _REQUESTS_AT, requests)

    def end(self, place: int, row: Row) -> None:
        """`row` is its last, and stands for a while; its place is free."""
        self.put(ROWS + self._ended % _ENDED, row)
        self._ended += 1
        if place >= 0:
            self._rows[place * _ROW.size] = 0
            self._free.append(place)

    def rows(self) -> list[Row]:
        """Those that are there by the time of their start, then those that have ended."""
        places = (_ROW.unpack_from(self._rows, at) for at in range(0, len(self._rows), _ROW.size) if self._rows[at])
        found = [Row(_STATES[state], pid, since, n, *map(text_of, texts)) for state, pid, since, n, *texts in places]
        return sorted(found, key=lambda row: (row.state == "ended", row.since))

    def absorb(self, other: "ZygotePage") -> None:
        """Take over what a worker that is dead has counted; its zygotes are dead, too."""
        for one in Warmed:
            self.counts[one] = (self.counts[one] + other.counts[one]) % (1 << 64)
            other.counts[one] = 0
        other._rows[:] = bytes(len(other._rows))
