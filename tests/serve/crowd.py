"""Requests of users as admission sees them: they come, stay until they are told to leave, and wait for each other."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from selcgi.errors import SelcgiError
from selcgi.serve.admission import Admission
from selcgi.serve.board import Board, Identity
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange
from selcgi.serve.poller import Poller
from selcgi.serve.rounds import Rounds
from selcgi.serve.splicing import Conduit
from selcgi.settings import ListenerSettings, Settings
from tests.stack import PATIENCE

ALICE, BOB, CAROL, DORA = (Identity(name, "user_webapp_t:s0") for name in ("alice", "bob", "carol", "dora"))
SETTINGS = Settings(concurrent_requests=4, queue_length=8, queue_seconds=30)


class NoSession:
    """A connection that nothing is sent on."""

    listener = ListenerSettings("unix:/x")
    tcp = False
    poller = Poller()
    conduit, rounds = Conduit(), Rounds()
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
            if (turn := self.admission.enter(who, most, one)) is not None:
                await turn
            self.inside.append(who)
        except SelcgiError as error:
            self.errors.append(error)


def play(act: Coroutine[Any, Any, None]) -> None:
    """Who would wait for ever fails."""
    asyncio.run(asyncio.wait_for(act, PATIENCE))


def crowd(settings: Settings = SETTINGS, board: Board | None = None, number: int = 0) -> Crowd:
    return Crowd(Admission(board or Board(1), number, settings))
