"""The pages of the workers: counted by one process, seen by another, cleared at its death."""

import os

import pytest

from selcgi.errors import Overloaded
from selcgi.serve.board import _WINDOW, PLACES, Board, Count, Identity, Page

ALICE = Identity("alice", "user_webapp_t:s0:c1")
BOB = Identity("bob", "user_webapp_t:s0:c2")


def at(user: int, context: int) -> Identity:
    """One whose counts are at known places."""
    made = Identity(str(user), str(context))
    made.keys = user, context
    return made


def running(whole: Board | Page, who: Identity) -> tuple[int, int]:
    of_user, in_context = (whole.running(key) for key in who.keys)
    return of_user, in_context


def test_a_user_is_one_in_all_contexts_and_nobody_is_one_too() -> None:
    page = Board(1).pages[0]
    for user in ("alice", "None", None):
        one, other = Identity(user, "a_t:s0"), Identity(user, "b_t:s0")
        page.add(one)
        page.add(other)
        page.add(other)
        assert (running(page, one), running(page, other)) == ((3, 1), (3, 2))


def test_what_one_process_writes_another_reads() -> None:
    board = Board(2)
    child = os.fork()
    if child == 0:
        for who in (ALICE, ALICE, BOB):
            board.pages[1].add(who)
        os._exit(0)
    os.waitpid(child, 0)
    board.pages[0].add(ALICE)
    assert (running(board, ALICE), running(board, BOB), board.total(Count.RUNNING)) == ((3, 3), (1, 1), 4)
    board.pages[1].bury(board.supervisor)
    assert (running(board, ALICE), running(board, BOB), board.total(Count.RUNNING)) == ((1, 1), (0, 0), 1)


def test_places_are_given_back() -> None:
    page = Board(1).pages[0]
    for _ in range(3):
        page.add(ALICE)
        page.add(BOB)
        page.remove(ALICE)
        assert (running(page, ALICE), running(page, BOB), page.counts[Count.RUNNING]) == ((0, 0), (1, 1), 1)
        page.remove(BOB)
    with pytest.raises(KeyError):
        page.remove(BOB)


def test_counts_at_one_place_are_told_apart_until_there_are_too_many() -> None:
    page = Board(1).pages[0]
    same = [7 + n * (PLACES - _WINDOW) for n in range(_WINDOW + 1)]
    users = [at(user, 1000) for user in same]
    for who in users[:-1]:
        page.add(who)
    page.add(users[3])
    assert [running(page, who)[0] for who in users[2:5]] == [1, 2, 1]
    for too_many in (users[-1], at(2000, same[-1])):
        with pytest.raises(Overloaded):
            page.add(too_many)
    assert (running(page, at(2000, 1000)), page.counts[Count.RUNNING]) == ((0, _WINDOW + 1), _WINDOW + 1)
    page.remove(users[0])
    page.add(users[-1])
    assert running(page, users[-1])[0] == 1
