"""How two MLS ranges stand to each other, as a value.

Decides nothing else. A constraint of a policy compares levels of the two contexts, each with each, and nothing more of
them (constraint_expr_eval in the kernel's services.c): pairs of contexts whose ranges stand alike get the same answer.
Pure. Called by diagnose/isolation.py, which so asks once for thousands of users.
"""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class _Level:
    sensitivity: int
    categories: int  # a bit each


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
    return one.sensitivity >= two.sensitivity and one.categories | two.categories == one.categories


@lru_cache(maxsize=4096)
def _ends(text: str) -> tuple[_Level, _Level]:
    first, _, last = text.partition("-")
    lowest = _level(first)
    return lowest, _level(last) if last else lowest


def _level(text: str) -> _Level:
    sensitivity, _, categories = text.partition(":")
    bits = 0
    for item in filter(None, categories.split(",")):
        first, _, last = item.partition(".")
        start, end = int(first[1:]), int((last or first)[1:])
        bits |= (1 << end + 1) - (1 << start)
    return _Level(int(sensitivity[1:] or 0), bits)
