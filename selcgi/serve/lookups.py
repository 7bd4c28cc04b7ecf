"""What a worker knows of users: asked of the resolver once, remembered for a while.

Decides how long an answer counts and when it comes too late. Nothing is asked that the mapping does not need. No
answer in time is an answer too: Known says so, and only a request that hangs on it is refused. Called by
serve/request.py before the mapping is asked.
"""

import array
import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

from selcgi.mapping.known import NOTHING, Asked, Known
from selcgi.system.lookup import Question, decode, look_up

_SECONDS = 5.0  # for an answer
_KEPT_SECONDS = 30.0  # an answer that puts the user in a group, or gives him a login
_DOUBTED_SECONDS = 5.0  # any other: he may just have been made
_FAILED_SECONDS = 1.0  # no answer: a directory that is down is not asked for each request
_REMEMBERED = 10_000  # users
_ANSWER_BYTES = 1 << 18

Ask = Callable[[Question], Awaitable[Known]]


class Lookups:
    """Of one worker, for one mapping."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._found: dict[str, tuple[float, Known]] = {}  # until when, the oldest first
        self._coming: dict[str, asyncio.Task[Known]] = {}

    async def known(self, asked: Asked, user: str | None) -> Known:
        """Of `user` as far as `asked`. Raises nothing."""
        if user is None or asked.nothing:
            return NOTHING
        found = await self._system(Question(user, asked.groups, asked.login)) if asked.of_system else NOTHING
        return replace(found, groups=found.groups | asked.in_files(user))

    async def _system(self, question: Question) -> Known:
        loop, user = asyncio.get_running_loop(), question.user
        until, found = self._found.get(user, (0.0, NOTHING))
        if loop.time() < until:
            return found
        task = self._coming.get(user)
        if task is None:
            task = self._coming[user] = loop.create_task(self._find(question))
            task.add_done_callback(lambda _: self._coming.pop(user))
        return await asyncio.shield(task)  # others may wait for the same

    async def _find(self, question: Question) -> Known:
        found = await self._ask(question)
        self._found.pop(question.user, None)
        if len(self._found) >= _REMEMBERED:
            del self._found[next(iter(self._found))]
        self._found[question.user] = asyncio.get_running_loop().time() + _seconds(found), found
        return found


def _seconds(found: Known) -> float:
    if found.failed:
        return _FAILED_SECONDS
    return _KEPT_SECONDS if found.groups or found.seuser else _DOUBTED_SECONDS


def from_resolver(outlet: socket.socket) -> Ask:
    """For the workers of a supervisor."""

    async def ask(question: Question) -> Known:
        try:
            async with asyncio.timeout(_SECONDS):
                return decode(await _exchange(outlet, question.encode()))
        except TimeoutError:
            why = f"the system did not say within {_SECONDS:g} s who {question.user!a} is"
        except (OSError, ValueError) as error:
            why = f"the system could not be asked who {question.user!a} is ({error})"
        return Known(undecided=frozenset(question.groups), failed=why)

    return ask


async def _exchange(outlet: socket.socket, question: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            rights = array.array("i", [theirs.fileno()])
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            outlet.sendmsg([question], ancillary, socket.MSG_DONTWAIT)
        ours.setblocking(False)
        answer = b""
        while len(answer) < _ANSWER_BYTES:
            piece = await asyncio.get_running_loop().sock_recv(ours, _ANSWER_BYTES)
            if not piece:
                return answer
            answer += piece
    raise ValueError("a long answer")


def known_now(asked: Asked, user: str | None) -> Known:
    """For a program that may wait."""
    return asyncio.run(Lookups(from_here).known(asked, user))


async def from_here(question: Question) -> Known:
    """For one request alone, which may wait."""
    return look_up(question)
