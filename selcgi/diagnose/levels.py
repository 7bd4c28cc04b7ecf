"""How two MLS ranges stand to each other, as a value.

Decides nothing else. A constraint of a policy compares levels of the two contexts, each with each, and nothing more of
them (constraint_expr_eval in the kernel's services.c): pairs of contexts whose ranges stand alike get the same answer.
Pure. Called by diagnose/isolation.py, which so asks once for thousands of users.
"""

from dataclasses import dataclass
from functools import lru_cache

from selcgi.context import categories


@dataclass(frozen=True, slots=True)
class _Level:
    sensitivity: int
    bits: int  # of each category


Relation = tuple[tuple[bool, bool], ...]


def relation(one: str, two: str) -> Relation:
    """For each pair of the four levels, or of two single ones, whether the one dominates the other, and the reverse."""
    (low1, high1), (low2, high2) = _ends(one), _ends(two)
    if low1 is high1 and low2 is high2:
        return ((_dominates(low1, low2), _dominates(low2, low1)),)
    levels = (low1, high1, low2, high2)
    pairs = ((first, second) for at, first in enumerate(levels) for second in levels[at + 1 :])
    return tuple((_dominates(first, second), _dominates(second, first)) for first, second in pairs)


def low(text: str) -> str:
    """The lower level of a range."""
    return text.partition("-")[0]


def _dominates(one: _Level, two: _Level) -> bool:
    return one.sensitivity >= two.sensitivity and one.bits | two.bits == one.bits


@lru_cache(maxsize=4096)
def _ends(text: str) -> tuple[_Level, _Level]:
    first, _, last = text.partition("-")
    lowest = _level(first)
    return lowest, _level(last) if last else lowest


def _level(text: str) -> _Level:
    bits = 0
    for band in categories(text):
        bits |= (1 << band.last + 1) - (1 << band.first)
    return _Level(int(text.partition(":")[0][1:] or 0), bits)
