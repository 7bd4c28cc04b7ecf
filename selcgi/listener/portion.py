"""How many of a flood of refusals are passed on: the first ones of each process and context, then fewer and fewer.

Decides by counts within a second: the first few, and after that each whose number is a power of two, so that a reader
learns how many there were without being sent them all. No process can use up what is there for another context.
Bounded: it remembers so many processes and contexts. Pure but for the time it is told. Used by listener/main.py.
"""

from collections import OrderedDict
from collections.abc import Hashable

OF_PROCESS, OF_CONTEXT = 16, 64  # in a second
_REMEMBERED = 4096
_SECOND = 1.0


class Window:
    """Counts of what came within a second of its first, for each key."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._counts: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def passes(self, key: Hashable, now: float) -> bool:
        began, count = self._counts.get(key, (now, 0))
        if now - began >= _SECOND:
            began, count = now, 0
        count += 1
        self._counts[key] = began, count
        self._counts.move_to_end(key)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return count <= self._first or not count & (count - 1)


class Portion:
    """Both windows, and what each process has not been told about."""

    def __init__(self) -> None:
        self._processes, self._contexts = Window(OF_PROCESS), Window(OF_CONTEXT)
        self._skipped: OrderedDict[Hashable, int] = OrderedDict()

    def take(self, pid: int, context: str, now: float) -> int | None:
        """None: this one is not passed on. Else how many of the same process were not, since the last that was."""
        key = (pid, context)
        # Both count it, whatever the other says.
        passes = [self._processes.passes(key, now), self._contexts.passes(context, now)]
        if all(passes):
            return self._skipped.pop(key, 0)
        self._skipped[key] = self._skipped.pop(key, 0) + 1
        if len(self._skipped) > _REMEMBERED:
            self._skipped.popitem(last=False)
        return None
