"""What a worker's page says of refusals of the kernel: how many there were, and the last ones.

Decides how much is kept: a fixed number of rows of a fixed size, long sentences cut. Written by serve/denials.py, read
by serve/status.py, which takes a row half written for what it is.
"""

import struct
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from selcgi.serve.cells import cut, text_of

ROWS = 8
_ROW = struct.Struct("<d12s64s600s")


class Told(IntEnum):
    """The counts. HEARD is 1 while the listener is connected, and no count."""

    HEARD = 0
    JOINED = 1  # refusals that were found to be a request's, in time for its line in the log
    LATE = 2  # those that came after that line was written
    STRAY = 3  # those of no request of this worker's; the first worker alone counts them
    SKIPPED = 4  # of a flood: never sent
    NEXT = 5  # the row that is written next


_COUNTS = (Told.JOINED, Told.LATE, Told.STRAY, Told.SKIPPED)


@dataclass(frozen=True, slots=True)
class LastDenial:
    """`when` is in seconds since the epoch; `id` is empty for one of no request."""

    when: float
    id: str
    user: str
    text: str


class DenialPage:
    """One worker's."""

    BYTES = 8 * len(Told) + ROWS * _ROW.size

    def __init__(self, memory: memoryview) -> None:
        self.counts = memory[: 8 * len(Told)].cast("Q")
        self._rows = memory[8 * len(Told) :]

    def add(self, last: LastDenial) -> None:
        """In place of the oldest."""
        at = self.counts[Told.NEXT] % ROWS * _ROW.size
        self.counts[Told.NEXT] += 1
        _ROW.pack_into(self._rows, at, last.when, last.id.encode(), cut(last.user, 64), cut(last.text, 600))

    def last(self) -> list[LastDenial]:
        rows = (_ROW.unpack_from(self._rows, row * _ROW.size) for row in range(ROWS))
        return [LastDenial(when, *map(text_of, texts)) for when, *texts in rows if when]

    def totals(self) -> Counter[str]:
        return Counter({one.name.lower(): self.counts[one] for one in _COUNTS})

    def absorb(self, other: "DenialPage") -> None:
        """Take over what a worker that is dead has counted; the last ones go with it."""
        for one in _COUNTS:
            self.counts[one] = (self.counts[one] + other.counts[one]) % (1 << 64)
        for one in Told:
            other.counts[one] = 0
        other._rows[:] = bytes(len(other._rows))
