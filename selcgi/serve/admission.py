"""Who may start now, who waits for a turn, and who is told to come again.

Decides by four limits: requests at once in all workers, in this one, of one identity in all workers, and the queue.
Turns go round among the identities that wait, so a greedy one waits for itself. A place is claimed first and looked
at then, so that two workers never both take the last one. Must not know what a request does with its place.
Used by serve/request.py; one for each worker.
"""

import asyncio
from collections import deque

from selcgi.errors import ClientGone, Overloaded, SelcgiError
from selcgi.serve.board import Board, Count, Identity
from selcgi.serve.exchange import Exchange
from selcgi.settings import ONE_USER, Settings

_POLL_SECONDS = 0.02  # for a place that another worker has given back

Turn = asyncio.Future[None]


class Admission:
    """The places and the queue of one worker. enter() and leave() come in pairs."""

    def __init__(self, board: Board, number: int, settings: Settings) -> None:
        self._board = board
        self._page = board.pages[number]
        self._settings = settings
        self._worker_most = settings.worker_requests or settings.concurrent_requests
        self._lines: dict[Identity, deque[tuple[Turn, int]]] = {}  # in the order of their turns
        self._poll: asyncio.TimerHandle | None = None

    async def enter(self, who: Identity, most: int | None, exchange: Exchange) -> None:
        """Until the request may start. Overloaded when it may not, ClientGone when it need not any more."""
        most = most or self._settings.user_requests or max(1, int(ONE_USER * self._settings.concurrent_requests))
        if self._lines:
            self._hand_out()  # a place that another worker has given back is not for who comes now
        if not self._claim(who, most):
            await self._wait(who, most, exchange)

    def leave(self, who: Identity) -> None:
        """Give back what enter() took."""
        self._page.remove(who.key)
        if self._lines:
            self._hand_out()

    def _claim(self, who: Identity, most: int) -> bool:
        key = who.key
        self._page.add(key)
        if self._within_all() and self._board.running(key) <= most:
            return True
        self._page.remove(key)
        return False

    def _within_all(self) -> bool:
        counts = self._page.counts
        return (
            counts[Count.RUNNING] <= self._worker_most
            and self._board.total(Count.RUNNING) <= self._settings.concurrent_requests
        )

    async def _wait(self, who: Identity, most: int, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        entry = (turn, most)
        self._line_up(who, entry)
        seconds = self._settings.queue_seconds
        late = Overloaded(f"no place became free within {seconds:g} s", _MORE, limit="queue-time")
        timer = loop.call_later(seconds, _refuse, turn, late)
        exchange.on_input = lambda: _look(exchange, turn)
        try:
            exchange.on_input()
            await turn
        except SelcgiError:
            self._step_out(who, entry)
            raise
        finally:
            timer.cancel()
            exchange.on_input = lambda: None

    def _line_up(self, who: Identity, entry: tuple[Turn, int]) -> None:
        waiting, length = self._page.counts[Count.WAITING], self._settings.queue_length
        line = self._lines.get(who, ())
        if waiting >= length:
            raise Overloaded(f"{waiting} requests wait already", _MORE, limit="queue")
        if len(line) >= max(1, int(ONE_USER * length)):
            raise Overloaded(f"{len(line)} requests of this user wait already", _MORE, limit="user-queue")
        self._lines.setdefault(who, deque()).append(entry)
        self._page.counts[Count.WAITING] += 1
        self._poll = self._poll or asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _step_out(self, who: Identity, entry: tuple[Turn, int]) -> None:
        line = self._lines[who]
        line.remove(entry)
        self._page.counts[Count.WAITING] -= 1
        if not line:
            del self._lines[who]

    def _look_again(self) -> None:
        self._poll = None
        self._hand_out()
        if self._lines:
            self._poll = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _hand_out(self) -> None:
        """Free places to those who wait, as far as they go, unless a worker that runs less waits too."""
        while self._lines and not self._others_first() and self._serve_one():
            pass

    def _others_first(self) -> bool:
        mine = self._page.counts[Count.RUNNING]
        return any(page.counts[Count.WAITING] and page.counts[Count.RUNNING] < mine for page in self._board.pages)

    def _serve_one(self) -> bool:
        for who, line in self._lines.items():
            turn, most = line[0]
            if turn.done() or not self._claim(who, most):
                continue
            turn.set_result(None)
            self._step_out(who, line[0])
            if who in self._lines:
                self._lines[who] = self._lines.pop(who)  # to the end
            return True
        return False


_MORE = "see what the requests in progress wait for; --concurrent, --concurrent-user, max= and --queue set the limits"


def _refuse(turn: Turn, error: SelcgiError) -> None:
    if not turn.done():
        turn.set_exception(error)


def _look(exchange: Exchange, turn: Turn) -> None:
    """A client that has left, or a body that is wrong, needs no place."""
    if exchange.aborted:
        _refuse(turn, ClientGone(f"{exchange.why_gone} while its request waited for a place"))
    elif exchange.body.error is not None:
        _refuse(turn, exchange.body.error)
