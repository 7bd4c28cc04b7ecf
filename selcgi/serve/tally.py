"""What a worker's page says of its requests for people to look at: totals, and who is being served now.

Decides how much is kept: a fixed number of rows of a fixed size. A name that is too long is cut, and users whose names
are the same then count as one; a user too many counts as OTHERS, a request too many is counted but not shown. A reader
may see a row half written. Must not decide anything about a request. Written by serve/request.py through its worker,
read by serve/status.py.
"""

import struct
from dataclasses import dataclass

from selcgi.serve.accesslog import Entry
from selcgi.serve.cells import cut, text_of

LIMITS = ("worker", "queue", "user-queue", "queue-time", "spool", "body", "total", "first-byte", "idle", "write",
          "categories", "memory", "processes", "cpu", "file-size", "other")  # fmt: skip
OTHERS = "\n"  # which is no user's name: wire/environ.py
_STATUSES = 600
_JOBS = 512
_USERS = 256
_NAME_BYTES = 64
_JOB = struct.Struct("<B12sd64s96s160s")
_NUMBERS = 2 * 8  # of a user: answers, failed ones


@dataclass(frozen=True, slots=True)
class Job:
    """A request in progress. `began` is of the clock CLOCK_MONOTONIC, in seconds."""

    state: str
    id: str
    began: float
    user: str
    context: str
    script: str


class Tally:
    """One worker's rows. `failed` of a user: answers of 400 and more."""

    BYTES = 8 * (_STATUSES + len(LIMITS)) + _USERS * (_NUMBERS + _NAME_BYTES) + _JOBS * _JOB.size

    def __init__(self, memory: memoryview) -> None:
        parts = (8 * _STATUSES, 8 * len(LIMITS), _USERS * _NUMBERS, _USERS * _NAME_BYTES, _JOBS * _JOB.size)
        ends = [sum(parts[: n + 1]) for n in range(len(parts))]
        statuses, limits, answers, self._names, self._jobs = (
            memory[end - size : end] for size, end in zip(parts, ends, strict=True)
        )
        self.statuses, self.limits, self._answers = statuses.cast("Q"), limits.cast("Q"), answers.cast("Q")
        self._places: dict[bytes, int] = {}  # of users, by their names as they are kept
        self._free = list(range(_JOBS))

    def begin(self, entry: Entry, began: float) -> int:
        """A request waits for its turn. Its row, -1 when none is free."""
        if not self._free:
            return -1
        row = self._free.pop()
        text = (entry.user.encode(), entry.context.encode(), entry.script.encode("utf-8", "backslashreplace"))
        _JOB.pack_into(self._jobs, row * _JOB.size, 1, entry.id.encode(), began, *text)
        return row

    def started(self, row: int) -> None:
        """Its script runs."""
        if row >= 0:
            self._jobs[row * _JOB.size] = 2

    def end(self, row: int) -> None:
        if row >= 0:
            self._jobs[row * _JOB.size] = 0
            self._free.append(row)

    def count(self, entry: Entry) -> None:
        """A request has been answered."""
        self.statuses[entry.status] += 1
        if entry.limit:
            self.limits[LIMITS.index(entry.limit) if entry.limit in LIMITS else -1] += 1
        self.add_user(entry.user, 1, int(entry.status >= 400))

    def add_user(self, user: str, served: int, failed: int) -> None:
        name = cut(user, _NAME_BYTES)
        place = self._places.get(name)
        if place is None:
            place = self._new_user(name)
        self._answers[2 * place] += served
        self._answers[2 * place + 1] += failed

    def _new_user(self, name: bytes) -> int:
        if len(self._places) >= _USERS - 1:
            name = OTHERS.encode()
        place = self._places.setdefault(name, len(self._places))
        at = place * _NAME_BYTES
        self._names[at : at + _NAME_BYTES] = name.ljust(_NAME_BYTES, b"\0")
        return place

    def jobs(self) -> list[Job]:
        rows = (_JOB.unpack_from(self._jobs, at) for at in range(0, len(self._jobs), _JOB.size) if self._jobs[at])
        return [
            Job("waits" if state == 1 else "runs", text_of(one), began, *map(text_of, texts))
            for state, one, began, *texts in rows
        ]

    def users(self) -> dict[str, tuple[int, int]]:
        """Name -> answers, failed ones. The empty name is nobody known, OTHERS are all for whom there was no row."""
        names = (self._names[at : at + _NAME_BYTES].tobytes() for at in range(0, len(self._names), _NAME_BYTES))
        rows = zip(names, self._answers[::2].tolist(), self._answers[1::2].tolist(), strict=True)
        return {text_of(name): (served, failed) for name, served, failed in rows if served}

    def absorb(self, other: "Tally") -> None:
        """Take over the totals of a worker that is dead, and clear its rows."""
        for mine, theirs in ((self.statuses, other.statuses), (self.limits, other.limits)):
            for place, value in enumerate(theirs):
                if value:
                    mine[place] = (mine[place] + value) % (1 << 64)
                    theirs[place] = 0
        for user, (served, failed) in other.users().items():
            self.add_user(user, min(served, 1 << 40), min(failed, 1 << 40))
        other.clear()

    def clear(self) -> None:
        self._places.clear()
        self._answers[:] = memoryview(bytes(_USERS * _NUMBERS)).cast("Q")
        self._names[:] = bytes(len(self._names))
        self._jobs[:] = bytes(len(self._jobs))
