"""What a request has been lent goes back when none of its processes is left, and not before."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selcgi.context import ContextSpec
from selcgi.errors import ClientGone, Denied, Overloaded, RegistryFailed
from selcgi.mapping.categories import BANDS
from selcgi.mapping.table import Verdict
from selcgi.serve.accesslog import Entry
from selcgi.serve.categories import Categories
from selcgi.settings import Settings
from selcgi.system.leases import Leases

VERDICT = Verdict("site.map:1", ContextSpec("user_webapp_t", "s0:c{request}"), sendfile=False, account="")


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "leases", 1)


def exchange(**values: Any) -> Any:
    """As much of one as is looked at."""
    return SimpleNamespace(
        **{"entry": Entry(), "processes_gone": True, "aborted": False, "why_gone": "it left"} | values
    )


def lent(found: Categories, asked: Any, leases: Leases | None) -> AbstractAsyncContextManager[Verdict]:
    lent = found.lent(VERDICT, asked, leases)
    assert lent is not None
    return lent


def lend(leases: Leases | None, asked: Any) -> str:
    """The range inside, for one request."""
    found = Categories(Settings(queue_seconds=0.05), BANDS, None, lends=True, context=None)

    async def run() -> str:
        async with lent(found, asked, leases) as verdict:
            assert asked.entry.context == "system_u:system_r:user_webapp_t:s0:c488,c489"
            return str(verdict.spec.range)

    return asyncio.run(run())


def test_it_goes_back_when_its_processes_are_gone(leases: Leases) -> None:
    assert [lend(leases, exchange()) for _ in range(3)] == ["s0:c488,c489"] * 3


def test_it_does_not_while_one_is_left(leases: Leases) -> None:
    lend(leases, exchange(processes_gone=False))
    with pytest.raises(Overloaded, match="are lent"):
        lend(leases, exchange())
    leases.free()


def test_who_waits_and_leaves_waits_no_more(leases: Leases) -> None:
    assert leases.take() == 0
    with pytest.raises(ClientGone, match="it left while its request waited for categories"):
        lend(leases, exchange(aborted=True))


def test_those_who_wait_stand_in_line_and_only_the_first_looks(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leases.take() == 0
    looks: list[int | None] = []
    take = leases.take

    def look() -> int | None:
        looks.append(take())
        return looks[-1]

    monkeypatch.setattr(leases, "take", look)
    found = Categories(Settings(queue_seconds=5.0), BANDS, None, lends=True, context=None)
    order: list[int] = []

    async def wait(number: int) -> None:
        async with lent(found, exchange(), leases):
            order.append(number)

    async def run() -> None:
        waiting = [asyncio.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(looks) <= 2
        leases.give_back(0)
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert order == list(range(20))


def test_nothing_is_lent_where_nothing_was_opened() -> None:
    with pytest.raises(RegistryFailed):
        lend(None, exchange())


def test_what_a_directory_says_must_not_be_somebodys_own() -> None:
    """Contexts of a file were looked at when it was read; these come with a request."""
    found = Categories(Settings(), BANDS, None, lends=True, context=None)

    def ask(text: str) -> Verdict:
        verdict = replace(VERDICT, where="param:CONTEXT", spec=ContextSpec("user_webapp_t", text))
        assert found.own(verdict, exchange(), "alice") is None
        return verdict

    assert ask("s0:c7").spec.range == "s0:c7"
    with pytest.raises(Denied, match=r"param:CONTEXT has c489\.c489") as caught:
        ask("s0:c489,c490")
    assert caught.value.rule == "param:CONTEXT"
    with pytest.raises(Denied, match=r"has c0\.c1023"):
        ask("s0-s0:c0.c1023")


def test_what_a_file_says_may_dominate_everybody() -> None:
    found = Categories(Settings(), BANDS, None, lends=True, context=None)
    verdict = replace(VERDICT, spec=ContextSpec("user_webapp_t", "s0-s0:c0.c1023"))
    assert found.own(verdict, exchange(), "alice") is None
