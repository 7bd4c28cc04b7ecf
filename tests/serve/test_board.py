"""The pages of the workers: counted by one process, seen by another, cleared at its death."""

import os

import pytest

from selcgi.errors import Overloaded
from selcgi.serve.board import _WINDOW, IDENTITIES, Board, Count, Identity

ALICE = Identity("alice", "user_webapp_t:s0:c1").key
BOB = Identity("bob", "user_webapp_t:s0:c2").key


def test_a_user_is_another_in_another_context() -> None:
    assert Identity("alice", "a_t:s0").key != Identity("alice", "b_t:s0").key
    assert Identity(None, "a_t:s0").key != Identity("None", "a_t:s0").key


def test_what_one_process_writes_another_reads() -> None:
    board = Board(2)
    child = os.fork()
    if child == 0:
        for key in (ALICE, ALICE, BOB):
            board.pages[1].add(key)
        os._exit(0)
    os.waitpid(child, 0)
    board.pages[0].add(ALICE)
    assert (board.running(ALICE), board.running(BOB), board.total(Count.RUNNING)) == (3, 1, 4)
    board.pages[1].bury(board.supervisor)
    assert (board.running(ALICE), board.running(BOB), board.total(Count.RUNNING)) == (1, 0, 1)


def test_places_are_given_back() -> None:
    page = Board(1).pages[0]
    for _ in range(3):
        page.add(ALICE)
        page.add(BOB)
        page.remove(ALICE)
        assert (page.running(ALICE), page.running(BOB), page.counts[Count.RUNNING]) == (0, 1, 1)
        page.remove(BOB)
    with pytest.raises(AssertionError):
        page.remove(BOB)


def test_identities_at_one_place_are_told_apart_until_there_are_too_many() -> None:
    page = Board(1).pages[0]
    keys = [7 + n * (IDENTITIES - _WINDOW) for n in range(_WINDOW + 1)]
    for key in keys[:-1]:
        page.add(key)
    page.add(keys[3])
    assert [page.running(key) for key in keys[2:5]] == [1, 2, 1]
    with pytest.raises(Overloaded):
        page.add(keys[-1])
    assert page.counts[Count.RUNNING] == _WINDOW + 1
    page.remove(keys[0])
    page.add(keys[-1])
    assert page.running(keys[-1]) == 1
