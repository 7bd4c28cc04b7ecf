"""What a worker's page says of its requests: totals that add up, whatever the names are."""

from pathlib import Path

import pytest

from selcgi.errors import BadRequest
from selcgi.serve.accesslog import Entry
from selcgi.serve.board import Board
from selcgi.serve.status import status
from selcgi.serve.tally import _NAME_BYTES, _USERS, LIMITS, OTHERS, Tally
from selcgi.wire.environ import _user


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
    tally.add_user("(others)", 5, 5)  # who is really called like this
    for number in range(_USERS + 10):
        tally.add_user(f"user{number}", 1, 0)
    found = tally.users()
    assert len(found) == _USERS
    assert found[OTHERS] == (12, 0)
    assert found["(others)"] == (5, 5)


def test_the_others_are_not_called_like_a_user() -> None:
    """Of two workers' pages, to which each of their users has been added."""
    board = Board(2)
    for number in (0, 1):
        for user in (*(f"user{number}" for number in range(_USERS)), "(others)", ""):
            board.pages[number].tally.add_user(user, 1, 1)
    found = status(board, "")
    assert len(found["users"]) == _USERS - 1
    assert found["others"] == {"answers": 6, "failed": 6}
    assert status(Board(1), "")["others"] is None


@pytest.mark.parametrize("name", ["\n", "a\n", "\0"])
def test_no_user_is_called_like_the_others(name: str) -> None:
    with pytest.raises(BadRequest, match="control character"):
        _user(name.encode())


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
