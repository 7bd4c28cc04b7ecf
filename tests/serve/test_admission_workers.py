"""Places and turns of several workers: shared, and left to who can take them."""

import asyncio

import pytest

from selcgi.serve.board import Board, Count, Identity
from selcgi.settings import Settings
from tests.serve.crowd import ALICE, BOB, CAROL, DORA, crowd, play


def test_who_comes_does_not_overtake_those_who_wait_when_another_worker_has_given_a_place_back() -> None:
    async def act() -> None:
        board = Board(2)
        one, two = (crowd(Settings(concurrent_requests=1), board, number) for number in (0, 1))
        await two.come(CAROL)
        await one.come(ALICE)
        two.admission.leave(CAROL)  # one has not looked again yet
        await one.come(BOB)
        assert one.inside == [ALICE]
        await one.go(ALICE)
        assert one.inside == [BOB]

    play(act())


def test_workers_share_the_limits_and_the_turns() -> None:
    async def act() -> None:
        board = Board(2)
        one, two = crowd(board=board), crowd(board=board, number=1)
        await one.come(ALICE, 2)
        await two.come(ALICE, 2)
        await two.come(BOB, 2)
        assert (len(one.inside), two.inside) == (2, [ALICE, BOB])
        assert board.total(Count.RUNNING) == 4
        await one.come(CAROL)
        await two.go(ALICE)
        while len(two.inside) + len(one.inside) < 4:
            await asyncio.sleep(0.005)
        assert board.total(Count.WAITING) == 2

    play(act())


def test_a_worker_keeps_no_place_for_another_whose_requests_wait_for_the_limit_of_their_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("selcgi.serve.admission._STALE_MS", 60_000)  # no machine is so slow

    async def act() -> None:
        board, settings = Board(2), Settings(concurrent_requests=4, user_requests=1, queue_length=8)
        one, two = (crowd(settings, board, number) for number in (0, 1))
        for who in (ALICE, CAROL, DORA, Identity("emil", "x")):
            await one.come(who)
        await two.come(ALICE)  # until her other one is done
        await one.come(BOB)
        assert (len(one.inside), two.inside) == (4, [])
        await one.go(CAROL)
        assert one.inside[-1] == BOB
        await two.come(CAROL)
        await one.come(Identity("fritz", "x"))
        await one.go(BOB)
        assert len(one.inside) == 3, "this place is for the worker that runs less"
        while two.inside != [CAROL]:
            await asyncio.sleep(0.005)

    play(act())


@pytest.mark.parametrize("own", [(), (BOB,)], ids=["nobody waits here", "somebody waits here, too"])
def test_who_comes_does_not_overtake_those_who_wait_in_a_worker_that_runs_less(
    monkeypatch: pytest.MonkeyPatch, own: tuple[Identity, ...]
) -> None:
    monkeypatch.setattr("selcgi.serve.admission._STALE_MS", 60_000)  # no machine is so slow

    async def act() -> None:
        board = Board(2)
        one, two = crowd(board=board), crowd(board=board, number=1)
        await one.come(ALICE, 2)
        await one.come(DORA, 2)
        await two.come(CAROL)
        for who in own:
            await one.come(who)
        await one.go(ALICE)
        await one.come(ALICE)  # her next one, at once
        assert sorted(who.user or "" for who in one.inside) == ["alice", "dora", "dora"]
        while two.inside != [CAROL]:
            await asyncio.sleep(0.005)
        await one.go(DORA)
        assert one.inside[-1] == (own or (ALICE,))[0]

    play(act())


def test_a_worker_keeps_no_place_for_another_that_is_stuck() -> None:
    async def act() -> None:
        board, settings = Board(2), Settings(concurrent_requests=3, user_requests=2)
        one, two = (crowd(settings, board, number) for number in (0, 1))
        await one.come(ALICE, 2)
        await one.come(CAROL)
        await two.come(BOB)
        assert two.admission._poll is not None
        two.admission._poll.cancel()
        await one.come(DORA)
        await one.go(CAROL)
        while one.inside != [ALICE, ALICE, DORA]:
            await asyncio.sleep(0.005)

    play(act())
