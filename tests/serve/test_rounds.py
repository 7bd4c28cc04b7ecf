"""Timers of requests: which of them ring in a round, with an event loop of their own."""

import asyncio
import weakref
from functools import partial

from selcgi.serve.rounds import Alarm, Rounds


class Caller:
    def __init__(self, name: str, heard: list[str], heard_all: asyncio.Event) -> None:
        self.name, self.heard, self.heard_all = name, heard, heard_all

    def ring(self) -> None:
        self.heard.append(self.name)
        if self.name == "last":
            self.heard_all.set()
        if self.name == "broken":
            raise ValueError


def test_what_is_due_rings_once_and_what_was_cancelled_never() -> None:
    heard: list[str] = []
    told: list[object] = []

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
        rounds, all_heard = Rounds(), asyncio.Event()
        now = rounds.time()
        for name, seconds in {"never": 0.0, "broken": 0.0, "first": 0.0, "late": 3600.0, "last": 0.3}.items():
            alarm = rounds.call_at(now + seconds, Caller(name, heard, all_heard).ring)
            if name == "never":
                alarm.cancel()
                alarm.cancel()
        await asyncio.wait_for(all_heard.wait(), 20)

    asyncio.run(go())
    assert sorted(heard) == ["broken", "first", "last"]
    assert heard[-1] == "last"
    assert [type(one) for one in told] == [ValueError]


def test_no_round_is_made_for_nothing_and_the_next_timer_begins_them_anew() -> None:
    async def go() -> int:
        rounds, heard, all_heard = Rounds(), list[str](), asyncio.Event()
        for _ in range(2):
            rounds.call_at(0.0, Caller("last", heard, all_heard).ring)
            await asyncio.wait_for(all_heard.wait(), 20)
            all_heard.clear()
            assert not rounds._going
        return len(heard)

    assert asyncio.run(go()) == 2


def test_a_timer_that_was_cancelled_keeps_nobody() -> None:
    """Else each request would be a cycle, for the garbage collector."""

    async def go() -> None:
        rounds = Rounds()
        caller = Caller("never", [], asyncio.Event())
        alarm = rounds.call_at(0.0, caller.ring)
        gone = weakref.ref(caller)
        del caller
        assert gone() is not None
        alarm.cancel()
        assert gone() is None

    asyncio.run(go())


def test_what_is_cancelled_by_another_of_its_round_does_not_ring() -> None:
    """A request that one of its two timers has ended must not hear of the other."""
    heard: list[str] = []

    async def go() -> None:
        rounds, all_heard = Rounds(), asyncio.Event()
        alarms: list[Alarm] = []

        def ring(name: str) -> None:
            heard.append(name)
            for alarm in alarms:
                alarm.cancel()

        alarms += (rounds.call_at(0.0, partial(ring, name)) for name in ("one", "other"))
        rounds.call_at(rounds.time() + 0.2, all_heard.set)
        await asyncio.wait_for(all_heard.wait(), 20)

    asyncio.run(go())
    assert len(heard) == 1
