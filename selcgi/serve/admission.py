"""Who may start now, who waits for a turn, and who is told to come again.

Decides by four limits: requests at once in all workers, in this one, of one user in all workers, and the queue. A
user's limit counts all that he runs; max= of a rule takes its place and counts what he runs in the rule's context.
Turns go round among the users that wait, so a greedy one waits for itself. A place is claimed first and looked at
then, so that two workers never both take the last one. Must not know what a request does with its place.
Used by serve/request.py; one for each worker.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass

from selcgi.errors import ClientGone, Overloaded, SelcgiError
from selcgi.serve.board import Board, Count, Identity
from selcgi.serve.exchange import Exchange
from selcgi.settings import ONE_USER, Settings

_POLL_SECONDS = 0.02  # for a place that another worker has given back
_STALE_MS = 200  # since a worker last looked: it is stuck, and takes no place that is left to it


@dataclass(eq=False, slots=True)
class Waiting:
    """One request in the queue."""

    who: Identity
    most: int | None  # of its rule
    turn: asyncio.Future[None]


class Admission:
    """The places and the queue of one worker. enter() and leave() come in pairs."""

    def __init__(self, board: Board, number: int, settings: Settings) -> None:
        self._board = board
        self._page = board.pages[number]
        self._settings = settings
        self._worker_most = settings.worker_requests or settings.concurrent_requests
        self._user_most = settings.user_requests or max(1, int(ONE_USER * settings.concurrent_requests))
        self._lines: dict[str | None, list[Waiting]] = {}  # of users, in the order of their turns
        self._poll: asyncio.TimerHandle | None = None

    def enter(self, who: Identity, most: int | None, exchange: Exchange) -> Coroutine[None, None, None] | None:
        """To be awaited until the request may start; None when it may now. Overloaded when it may not, ClientGone when
        it need not any more."""
        if self._lines:
            self._hand_out()  # a place that another worker has given back is not for who comes now
        if self._others_first() or not self._claim(who, most):
            return self._wait(who, most, exchange)
        return None

    def leave(self, who: Identity) -> None:
        """Give back what enter() took."""
        self._page.remove(who)
        if self._lines:
            self._hand_out()

    def _claim(self, who: Identity, most: int | None) -> bool:
        self._page.add(who)
        if self._within_all() and self._left_of_own(who, most) >= 0:
            return True
        self._page.remove(who)
        return False

    def _left_of_own(self, who: Identity, most: int | None) -> int:
        """How many more its user's limit lets start."""
        all_of_user, in_context = who.keys
        return (most or self._user_most) - self._board.running(in_context if most else all_of_user)

    def _within_all(self) -> bool:
        counts = self._page.counts
        return (
            counts[Count.RUNNING] <= self._worker_most
            and self._board.total(Count.RUNNING) <= self._settings.concurrent_requests
        )

    async def _wait(self, who: Identity, most: int | None, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        waiting = Waiting(who, most, turn)
        self._line_up(waiting)
        seconds = self._settings.queue_seconds
        late = Overloaded(f"no place became free within {seconds:g} s", _MORE, limit="queue-time")
        timer = loop.call_later(seconds, _refuse, turn, late)
        exchange.on_input = lambda: _look(exchange, turn)
        try:
            exchange.on_input()
            await turn
        except SelcgiError:
            self._step_out(waiting)
            raise
        finally:
            timer.cancel()
            exchange.on_input = lambda: None

    def _line_up(self, one: Waiting) -> None:
        number, length = self._page.counts[Count.WAITING], self._settings.queue_length
        line = self._lines.get(one.who.user, ())
        if number >= length:
            raise Overloaded(f"{number} requests wait already", _MORE, limit="queue")
        if len(line) >= max(1, int(ONE_USER * length)):
            raise Overloaded(f"{len(line)} requests of this user wait already", _MORE, limit="user-queue")
        self._lines.setdefault(one.who.user, []).append(one)
        self._page.counts[Count.WAITING] += 1
        self._tell_ready()
        self._poll = self._poll or asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _step_out(self, one: Waiting) -> None:
        line = self._lines[one.who.user]
        line.remove(one)
        self._page.counts[Count.WAITING] -= 1
        if not line:
            del self._lines[one.who.user]

    def _look_again(self) -> None:
        self._poll = None
        self._hand_out()
        if self._lines:
            self._poll = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _hand_out(self) -> None:
        """Free places to those who wait, as far as they go, unless a worker that runs less needs but one, too."""
        while self._lines and not self._others_first() and self._serve_one():
            pass
        self._tell_ready()

    def _others_first(self) -> bool:
        if not self._board.total(Count.READY):  # as nearly always
            return False
        mine, seen = self._page.counts[Count.RUNNING], _milliseconds() - _STALE_MS
        return any(page.counts[Count.READY] > seen and page.counts[Count.RUNNING] < mine for page in self._board.pages)

    def _tell_ready(self) -> None:
        ready = any(self._left_of_own(one.who, one.most) > 0 for one in self._firsts())
        self._page.counts[Count.READY] = _milliseconds() if ready else 0

    def _firsts(self) -> Iterator[Waiting]:
        """In the order of their turns; of those that wait for the same limit of one user only the first."""
        for line in self._lines.values():
            seen = set()
            for one in line:
                limit = (one.who.context, one.most) if one.most else None
                if limit not in seen and not one.turn.done():
                    seen.add(limit)
                    yield one

    def _serve_one(self) -> bool:
        for one in self._firsts():
            try:
                if not self._claim(one.who, one.most):
                    continue
            except Overloaded as error:  # of the page: told to this one, not to who has just left
                _refuse(one.turn, error)
                continue
            one.turn.set_result(None)
            self._step_out(one)
            if one.who.user in self._lines:
                self._lines[one.who.user] = self._lines.pop(one.who.user)  # to the end
            return True
        return False


_MORE = "see what the requests in progress wait for; --concurrent, --concurrent-user, max= and --queue set the limits"


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


def _refuse(turn: asyncio.Future[None], error: SelcgiError) -> None:
    if not turn.done():
        turn.set_exception(error)


def _look(exchange: Exchange, turn: asyncio.Future[None]) -> None:
    """A client that has left, or a body that is wrong, needs no place."""
    if exchange.aborted:
        _refuse(turn, ClientGone(f"{exchange.why_gone} while its request waited for a place"))
    elif exchange.body.error is not None:
        _refuse(turn, exchange.body.error)
