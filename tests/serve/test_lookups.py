"""Questions about users: asked by a process that may hang, remembered by workers, answered in time or not at all."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from selcgi.mapping.known import NOTHING, Asked, Known
from selcgi.serve import lookups
from selcgi.serve.children import become
from selcgi.serve.lookups import Lookups, from_resolver
from selcgi.serve.resolver import Resolver
from selcgi.system.lookup import Question
from tests.stack import wait_until

ASKED = Asked(("staff",))


def groups_of(question: Question) -> Known:
    """`user` is in the group `user`; hang never answers, die ends without one."""
    if question.user == "hang":
        time.sleep(3600)
    if question.user == "die":
        os._exit(1)
    return Known(frozenset({question.user}))


@contextmanager
def resolving(answer: Callable[[Question], Known] = groups_of, seconds: int = 30) -> Iterator[tuple[Resolver, int]]:
    resolver = Resolver(answer, seconds)
    pid = os.fork()
    if pid == 0:
        become("resolver", resolver.run)
    try:
        yield resolver, pid
    finally:
        resolver.close()
        _, status = os.waitpid(pid, 0)
        assert status == 0, "it ends by itself when nobody is left that could ask"


async def all_known(lookup: Lookups, *users: str, asked: Asked = ASKED) -> list[Known]:
    return list(await asyncio.gather(*(lookup.known(asked, user) for user in users)))


def test_each_question_gets_its_own_answer() -> None:
    users = [f"user{number}" for number in range(40)]
    with resolving() as (resolver, _):
        found = asyncio.run(all_known(Lookups(from_resolver(resolver.outlet)), *users))
    assert [known.groups for known in found] == [frozenset({user}) for user in users]


def test_a_question_that_hangs_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_SECONDS", 2.0)
    with resolving(seconds=3) as (resolver, pid):
        lookup = Lookups(from_resolver(resolver.outlet))
        hung, dead, good = asyncio.run(all_known(lookup, "hang", "die", "alice"))
        assert good.groups == {"alice"}
        for known in (hung, dead):
            assert known.undecided == {"staff"}
            assert known.failed
        assert "within 2 s" in hung.failed
        children = Path(f"/proc/{pid}/task/{pid}/children")
        wait_until("the alarm clock ended it", lambda: children.read_text() == "")


def test_without_a_resolver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_SECONDS", 0.2)
    resolver = Resolver(groups_of)
    (known,) = asyncio.run(all_known(Lookups(from_resolver(resolver.outlet)), "alice"))
    resolver.close()
    assert known.undecided == {"staff"}
    assert "within 0.2 s" in known.failed


def test_more_questions_than_it_takes_are_failures_at_once() -> None:
    resolver = Resolver(groups_of)
    users = [f"user{number}" for number in range(400)]

    async def ask() -> list[Known]:
        lookup = Lookups(from_resolver(resolver.outlet))
        tasks = [asyncio.ensure_future(lookup.known(ASKED, user)) for user in users]
        done, waiting = await asyncio.wait(tasks, timeout=0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [task.result() for task in done]

    failed = asyncio.run(ask())
    resolver.close()
    assert failed
    assert all(known.failed for known in failed)


def test_a_question_that_nobody_waits_for_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_SECONDS", 0.1)

    def mark(question: Question) -> Known:
        (tmp_path / question.user).touch()
        return NOTHING

    resolver = Resolver(mark)
    asyncio.run(all_known(Lookups(from_resolver(resolver.outlet)), "early"))
    pid = os.fork()
    if pid == 0:
        become("resolver", resolver.run)
    monkeypatch.setattr(lookups, "_SECONDS", 20.0)
    asyncio.run(all_known(Lookups(from_resolver(resolver.outlet)), "later"))
    resolver.close()
    os.waitpid(pid, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["later"]


@dataclass
class Source:
    """Counts; what it says may change."""

    found: Known = field(default_factory=lambda: Known(frozenset({"staff"})))
    asked: int = 0

    async def ask(self, _: Question) -> Known:
        self.asked += 1
        await asyncio.sleep(0)
        return self.found


def in_time(lookup: Lookups, monkeypatch: pytest.MonkeyPatch, *after: float) -> None:
    """The same question at several times of a clock."""

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for seconds in after:
            monkeypatch.setattr(loop, "time", lambda: began + seconds)  # noqa: B023 - called in this turn
            await lookup.known(ASKED, "alice")

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (Known(frozenset({"staff"})), 30),
        (Known(seuser="user_u"), 30),
        (NOTHING, 5),
        (Known(undecided=frozenset({"staff"}), failed="down"), 1),
    ],
)
def test_how_long_an_answer_counts(monkeypatch: pytest.MonkeyPatch, found: Known, kept: float) -> None:
    source = Source(found)
    in_time(Lookups(source.ask), monkeypatch, 0, kept - 0.1, kept + 0.1)
    assert source.asked == 2


def test_many_requests_of_one_user_are_one_question() -> None:
    source = Source()
    found = asyncio.run(all_known(Lookups(source.ask), *["alice"] * 50))
    assert source.asked == 1
    assert {known.groups for known in found} == {frozenset({"staff"})}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_REMEMBERED", 3)
    source = Source()
    lookup = Lookups(source.ask)

    async def ask() -> None:
        for user in ("a", "b", "c", "d", "d", "b", "a"):
            await lookup.known(ASKED, user)

    asyncio.run(ask())
    assert source.asked == 5, "a was forgotten for d"


def test_nothing_is_asked_that_the_mapping_does_not_need() -> None:
    source = Source()
    lookup = Lookups(source.ask)
    in_file = Asked(members={"editors": frozenset({"alice"})})
    assert asyncio.run(all_known(lookup, "alice", "bob", asked=in_file)) == [Known(frozenset({"editors"})), NOTHING]
    assert asyncio.run(all_known(lookup, "alice", asked=Asked())) == [NOTHING]
    assert asyncio.run(lookup.known(ASKED, None)) == NOTHING
    assert source.asked == 0
    both = Asked(("staff",), members=in_file.members)
    assert asyncio.run(all_known(lookup, "alice", asked=both))[0].groups == {"editors", "staff"}


def test_a_signal_to_end_is_for_others() -> None:
    with resolving() as (resolver, pid):
        lookup = Lookups(from_resolver(resolver.outlet))
        asyncio.run(all_known(lookup, "alice"))
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, signum)
        assert asyncio.run(all_known(lookup, "bob"))[0].groups == {"bob"}
