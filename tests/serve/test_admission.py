"""Places and turns: nobody beyond the limits, nobody forgotten, no greedy user ahead of the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from selcgi.errors import BadRequest, ClientGone, Overloaded, SelcgiError
from selcgi.serve.admission import Admission
from selcgi.serve.board import Board, Count, Identity
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings

ALICE, BOB, CAROL = (Identity(name, "user_webapp_t:s0") for name in ("alice", "bob", "carol"))
SETTINGS = Settings(concurrent_requests=4, queue_length=8, queue_seconds=30)


class NoSession:
    """A connection that nothing is sent on."""

    listener = ListenerSettings("unix:/x")
    tcp = False
    poller = Poller()
    conduit = Conduit()
    blocked = False

    def write(self, *_: object) -> None: ...
    def splice(self, *_: object) -> int:
        return 0

    def write_stderr(self, *_: object) -> None: ...
    def end(self, *_: object) -> None: ...
    def break_off(self, *_: object) -> None: ...


def exchange() -> Exchange:
    return Exchange(NoSession(), 1, (), Body(SETTINGS, SpoolSpace(1000), 1000))


async def settle() -> None:
    """Until everything that can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests of users that stay until they are told to leave. `inside` has who is, in the order of their entry."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[Identity] = []
        self.errors: list[SelcgiError] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, who: Identity, number: int = 1, most: int | None = None) -> list[Exchange]:
        exchanges = [exchange() for _ in range(number)]
        self._tasks += [asyncio.create_task(self._one(who, most, one)) for one in exchanges]
        await settle()
        return exchanges

    async def go(self, who: Identity) -> None:
        self.inside.remove(who)
        self.admission.leave(who)
        await settle()

    async def _one(self, who: Identity, most: int | None, one: Exchange) -> None:
        try:
            await self.admission.enter(who, most, one)
            self.inside.append(who)
        except SelcgiError as error:
            self.errors.append(error)


def play(act: Coroutine[Any, Any, None]) -> None:
    asyncio.run(act)


def crowd(settings: Settings = SETTINGS, board: Board | None = None, number: int = 0) -> Crowd:
    return Crowd(Admission(board or Board(1), number, settings))


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


def test_a_worker_keeps_no_place_for_another_whose_requests_wait_for_the_limit_of_their_user() -> None:
    async def act() -> None:
        board, settings = Board(2), Settings(concurrent_requests=4, user_requests=1, queue_length=8)
        one, two = (crowd(settings, board, number) for number in (0, 1))
        for who in (ALICE, CAROL, Identity("dora", "x"), Identity("emil", "x")):
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


def test_a_queue_that_is_full_says_so_at_once() -> None:
    async def act() -> None:
        people = crowd(Settings(concurrent_requests=1, queue_length=2))
        for who in (ALICE, BOB, CAROL):
            await people.come(who)
        await people.come(Identity("dora", "x"))
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
