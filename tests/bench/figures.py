"""From samples to figures: medians, and ratios of what was measured side by side.

Decides what a ratio is: of two samples of the same round, so that a busy moment of the machine hits both; the median of
all rounds, with the least and the greatest. Pure. Called by tests/bench.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.measure import Sample


@dataclass(frozen=True)
class Ratio:
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 20 else 0
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def ratio(ours: Sequence[Sample], others: Sequence[Sample], of: Callable[[Sample], float]) -> Ratio | None:
    """`of` ours to theirs, round by round. None without a round that both have."""
    theirs = {one.round: of(one) for one in others}
    return of_pairs([(of(one), theirs[one.round]) for one in ours if theirs.get(one.round)])


def of_pairs(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """Of the first of each pair to the second."""
    ratios = [first / second for first, second in pairs]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    return statistics.median(map(of, samples))


@dataclass(frozen=True)
class Cell:
    """Samples of one script at one number of connections, by contestant, in the order in which they were measured."""

    script: str
    connections: int
    by_name: dict[str, list[Sample]]

    def rate(self, name: str) -> float:
        """Requests a second; 0 when it was not measured."""
        return median(self.by_name[name], lambda one: one.rate) if name in self.by_name else 0.0

    def ratio(self, ours: str, other: str, of: Callable[[Sample], float]) -> Ratio | None:
        return ratio(self.by_name.get(ours, []), self.by_name.get(other, []), of)

    def best_of_others(self) -> str:
        """The fastest launcher that is not selcgi; empty when there is none."""
        others = [name for name in self.by_name if not name.startswith("selcgi")]
        return max(others, key=self.rate, default="")


def cells(samples: Sequence[Sample]) -> list[Cell]:
    found: dict[tuple[str, int], Cell] = {}
    for one in samples:
        key = (one.script, one.connections)
        found.setdefault(key, Cell(*key, {})).by_name.setdefault(one.contestant, []).append(one)
    return list(found.values())


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)
