"""Places and turns: nobody beyond the limits, nobody forgotten, no greedy user ahead of the others."""

import asyncio

import pytest

from selcgi.errors import BadRequest, ClientGone, Overloaded
from selcgi.serve.board import Board, Count, Identity
from selcgi.settings import Settings
from tests.serve.crowd import ALICE, BOB, CAROL, DORA, crowd, play, settle


def test_one_user_may_have_three_quarters_and_the_others_find_room() -> None:
    async def act() -> None:
        people = crowd()
        await people.come(ALICE, 20)
        assert people.inside == [ALICE] * 3
        await people.come(BOB)
        assert people.inside == [ALICE] * 3 + [BOB]
        assert len(people.errors) == 20 - 3 - 6, "six may wait: three quarters of the queue"
        assert {type(error) for error in people.errors} == {Overloaded}

    play(act())


@pytest.mark.parametrize("user", ["alice", None])
def test_a_user_has_his_places_and_his_queue_once_whatever_his_contexts(user: str | None) -> None:
    async def act() -> None:
        people = crowd()
        web, mail = (Identity(user, f"{name}_t:s0") for name in ("web", "mail"))
        for _ in range(10):
            await people.come(web)
            await people.come(mail)
        assert people.inside == [web, mail, web]
        assert len(people.errors) == 20 - 3 - 6
        await people.come(BOB)
        assert people.inside[3:] == [BOB]

    play(act())


def test_a_user_with_two_contexts_has_one_turn() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=1, queue_length=8))
        other = Identity(ALICE.user, "other_t:s0")
        for who in (CAROL, ALICE, other, BOB, BOB):
            await people.come(who)
        for who in (CAROL, ALICE, BOB, other, BOB):
            assert people.inside == [who]
            await people.go(who)

    play(act())


def test_max_counts_one_context_and_holds_up_no_other_of_its_user() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=8, user_requests=2))
        heavy, light = (Identity("alice", f"{name}_t:s0") for name in ("heavy", "light"))
        await people.come(heavy, 2, most=1)
        await people.come(light, 2)
        assert people.inside == [heavy, light], "of all that she runs, --concurrent-user"
        await people.go(light)
        assert people.inside == [heavy, light], "which is behind one that waits for max="
        await people.go(heavy)
        assert people.inside == [light, heavy]
        await people.come(Identity("alice", "roomy_t:s0"), 9, most=5)
        assert len(people.inside) == 7, "max= may be more than --concurrent-user"

    play(act())


def test_turns_go_round_among_those_who_wait() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=1, queue_length=8))
        await people.come(CAROL)
        await people.come(ALICE, 3)
        await people.come(BOB, 2)
        order = [CAROL, ALICE, BOB, ALICE, BOB, ALICE]
        for who in order:
            assert people.inside == [who]
            await people.go(who)
        assert people.inside == []

    play(act())


def test_a_rule_says_how_many() -> None:
    async def act() -> None:
        people = crowd()
        await people.come(ALICE, 3, most=1)
        await people.come(BOB, 3, most=2)
        assert people.inside == [ALICE, BOB, BOB]
        await people.go(BOB)
        assert people.inside == [ALICE, BOB, BOB]

    play(act())


def test_a_page_that_is_full_is_told_to_who_waits_not_to_who_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        board = Board(1)
        people = crowd(Settings(concurrent_requests=1), board)
        await people.come(ALICE)
        await people.come(BOB)
        page = board.pages[0]
        monkeypatch.setattr(page, "_free", full)
        await people.go(ALICE)
        assert [str(error) for error in people.errors] == ["full"]
        assert page.counts[Count.WAITING] == 0

    def full(_: int) -> int:
        raise Overloaded("full")

    play(act())


def test_a_queue_that_is_full_says_so_at_once() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=1, queue_length=2))
        for who in (ALICE, BOB, CAROL):
            await people.come(who)
        await people.come(DORA)
        (error,) = people.errors
        assert (error.status, "2 requests wait already" in str(error)) == (503, True)

    play(act())


def test_whoever_waits_too_long_leaves_the_queue() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=1, queue_length=2, queue_seconds=0.01))
        await people.come(ALICE)
        await people.come(BOB)
        while not people.errors:
            await asyncio.sleep(0.005)
        assert "within 0.01 s" in str(people.errors[0])
        await people.go(ALICE)
        await people.come(CAROL)
        assert people.inside == [CAROL]

    play(act())


@pytest.mark.parametrize("how", ["client", "body"])
def test_whoever_needs_no_place_any_more_leaves_the_queue(how: str) -> None:
    async def act() -> None:
        board = Board(1)
        people = crowd(Settings(concurrent_requests=1, queue_length=2), board)
        await people.come(ALICE)
        (waiting,) = await people.come(BOB)
        if how == "client":
            waiting.abort(unsent=False)
        else:
            waiting.body.expect(5, 1000, "")
            waiting.body.feed(b"123456")
            waiting.on_input()
        await settle()
        assert [type(error) for error in people.errors] == [ClientGone if how == "client" else BadRequest]
        assert board.total(Count.WAITING) == 0
        await people.go(ALICE)
        assert board.total(Count.RUNNING) == 0

    play(act())
