"""How two ranges stand: each of the four levels with each, by what dominates what."""

import pytest

from selcgi.diagnose.levels import low, relation


@pytest.mark.parametrize(
    ("one", "two", "same_as"),
    [
        ("s0:c1", "s0:c2", ("s0:c7,c9", "s0:c8,c10")),
        ("s0:c1", "s0", ("s0:c5,c6", "s0:c5")),
        ("s0:c1", "s0:c1", ("s0", "s0")),
        ("s0:c1.c3", "s0:c2", ("s0:c1,c2,c3", "s0:c3")),
        ("s0-s0:c1", "s0:c1", ("s0-s0:c9", "s0:c9")),
        ("s0:c1", "s0-s0:c1", ("s0:c1023", "s0-s0:c1023")),
    ],
)
def test_pairs_that_stand_alike_are_one(one: str, two: str, same_as: tuple[str, str]) -> None:
    assert relation(one, two) == relation(*same_as)


def test_pairs_that_stand_otherwise_differ() -> None:
    pairs = [("s0:c1", "s0:c2"), ("s0:c1", "s0"), ("s0", "s0:c1"), ("s0", "s0"),
             ("s0-s0:c1", "s0"), ("s0-s0:c1", "s0:c1"), ("s0-s0:c1", "s0-s0:c1"), ("s0-s0:c1", "s0:c2"),
             ("s0", "s0-s0:c1"), ("s0:c1.c5", "s0:c1-s0:c1.c3")]  # fmt: skip
    assert len({relation(*pair) for pair in pairs}) == len(pairs)


def test_a_higher_sensitivity_needs_the_categories_too() -> None:
    assert relation("s1", "s0") == relation("s0:c1", "s0")
    assert relation("s1", "s0:c1") == relation("s0:c1", "s0:c2")


def test_files_have_the_low_level() -> None:
    assert low("s0:c1-s0:c1,c2") == "s0:c1"
    assert low("s0:c3") == "s0:c3"
