"""What a worker's page says of its requests: totals that add up, whatever the names are."""

from pathlib import Path

import pytest

from selcgi.serve.accesslog import Entry
from selcgi.serve.tally import _NAME_BYTES, _USERS, LIMITS, Tally


@pytest.fixture
def tally() -> Tally:
    return Tally(memoryview(bytearray(Tally.BYTES)))


def test_users_whose_names_are_cut_to_the_same_count_as_one(tally: Tally) -> None:
    for name, served in (("x" * 99 + "a", 3), ("x" * 99 + "b", 5), ("x" * 64, 7), ("", 1)):
        tally.add_user(name, served, 1)
    assert tally.users() == {"x" * 61 + "...": (8, 2), "x" * 64: (7, 1), "": (1, 1)}


@pytest.mark.parametrize("name", ["\u00e9" * 60, "x" + "\u20ac" * 60])
def test_a_name_is_cut_between_two_characters(tally: Tally, name: str) -> None:
    tally.add_user(name, 1, 0)
    (shown,) = tally.users()
    assert name.startswith(shown.removesuffix("..."))
    assert len(shown.encode()) <= _NAME_BYTES


def test_a_user_too_many_is_one_of_the_others(tally: Tally) -> None:
    for number in range(_USERS + 10):
        tally.add_user(f"user{number}", 1, 0)
    found = tally.users()
    assert len(found) == _USERS
    assert found["(others)"] == (11, 0)


def test_the_totals_of_a_dead_worker_are_taken_over(tally: Tally) -> None:
    other = Tally(memoryview(bytearray(Tally.BYTES)))
    for one in (tally, other):
        one.count(Entry(status=503, user="x" * 99, limit="queue"))
    tally.absorb(other)
    assert (tally.statuses[503], tally.limits[LIMITS.index("queue")]) == (2, 2)
    assert (tally.users(), other.users()) == ({"x" * 61 + "...": (2, 2)}, {})


def test_every_limit_that_is_counted_is_one_that_is_hit() -> None:
    """In the source of selcgi, each name stands somewhere else too."""
    package = Path(__file__).resolve().parents[2] / "selcgi"
    text = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "tally.py")
    assert [name for name in LIMITS if name != "other" and f'"{name}"' not in text] == []
