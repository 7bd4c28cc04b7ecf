"""What a warm interpreter is refused before a request's own process is in its context: whose line it is in."""

import asyncio
import time
from pathlib import Path

from selcgi.errors import ZygoteFailed
from selcgi.launch.running import Running
from selcgi.plan import Plan
from selcgi.serve.denialpage import Told
from tests.serve.hearing import GONE, ZYGOTE, PlayedRun, Scene, play

INTERPRETER = GONE + 100
WAITS = 3600.0


def warm(pid: int = 0, zygote: int = INTERPRETER, waits: float = WAITS) -> PlayedRun:
    return PlayedRun(pid, zygote, time.time() + waits)


def test_what_it_is_refused_at_its_start_concerns_all_who_wait_for_it(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path, workers=2)
        waiting = [one.begin(0, run=warm()) for _ in range(2)]
        fresh, other = one.begin(GONE), one.begin(0, run=warm(zygote=INTERPRETER + 1))
        served = one.begin(GONE, run=warm(GONE, waits=-1))
        one.tell(INTERPRETER, source=ZYGOTE)
        for entry in (*waiting, fresh, other, served):
            one.settle(entry)
        await one.denials.settled()
        first, second, *others = (line.denied for line in one.lines)
        assert first == second
        assert first[0].startswith(
            "the warm interpreter of report.cgi (user_zygote_t:s0) wanted to read x (user_webapp_rw_t:s0:c2): refused, "
        )
        assert others == [()] * 3

    asyncio.run(work())


def test_what_its_child_is_refused_before_it_moves_is_its_requests(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path, workers=2)
        mine, other = one.begin(GONE, run=warm(GONE)), one.begin(GONE + 1, run=warm(GONE + 1))
        one.tell(GONE, source=ZYGOTE)
        assert len(await one.written(mine)) == 1
        one.settle(other)
        await one.denials.settled()
        assert one.lines[-1].denied == ()

    asyncio.run(work())


class Refusing(PlayedRun):
    """No interpreter can be started."""

    def launch(self, _: Plan) -> Running:
        raise OSError


def test_one_that_could_not_be_started_is_told_to_who_wanted_it(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        other = one.begin(0, run=warm(zygote=INTERPRETER + 1))
        mine = one.fails(Refusing(0))
        one.tell(INTERPRETER, source=ZYGOTE)
        (sentence,) = await one.written(mine)
        assert sentence.startswith("the warm interpreter of report.cgi ")
        one.settle(other)
        await one.denials.settled()
        assert one.lines[-1].denied == ()

    asyncio.run(work())


class TooLate(PlayedRun):
    """That one could not be started, a moment ago."""

    def launch(self, _: Plan) -> Running:
        raise ZygoteFailed("no warm interpreter", pid=self.pid)


def test_why_one_could_not_be_started_is_told_to_who_comes_too_late(scene: list[Scene], tmp_path: Path) -> None:
    """Whether the kernel has told it by then, or tells it later."""

    async def work() -> None:
        one = play(scene, tmp_path, workers=2)
        before = time.time() - 1
        one.tell(INTERPRETER, "x", source=ZYGOTE, when=before)
        one.tell(INTERPRETER + 1, "y", source=ZYGOTE, when=before)
        mine, other = one.fails(TooLate(INTERPRETER)), one.fails(TooLate(0))
        one.tell(INTERPRETER, "z", source=ZYGOTE, when=before)
        one.settle(mine)
        one.settle(other)
        await one.denials.settled()
        told, nothing = (line.denied for line in one.lines)
        assert [text.partition(" wanted to ")[2][:6] for text in told] == ["read x", "read z"]
        assert nothing == ()

    asyncio.run(work())


def test_one_that_nobody_waits_for_is_in_the_status(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE, run=warm(GONE, waits=-1))
        one.tell(INTERPRETER, source=ZYGOTE)
        assert await one.written(mine) == ()
        assert one.page.counts[Told.STRAY] == 1
        (row,) = one.page.last()
        assert (row.id, "wanted to read x" in row.text) == ("", True)

    asyncio.run(work())


def test_what_has_ended_is_forgotten_in_both_contexts(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        for number in range(3):
            one.settle(one.begin(GONE + number, run=warm(GONE + number)))
        await one.denials.settled()
        one.denials._forget(float("inf"))
        assert one.denials._cases == {}

    asyncio.run(work())
