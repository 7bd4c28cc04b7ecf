"""A script that speaks of a refusal which nobody was told of: its line says that a silent one is possible."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from selcgi.system.refusals import SILENT
from tests.serve.hearing import GONE, Scene, play


@pytest.mark.parametrize(
    ("fields", "told", "fix"),
    [
        ({"status": 500, "complained": True}, False, SILENT),
        ({"status": 200, "exit": "1", "complained": True}, False, SILENT),
        (
            {"status": 502, "reason": "nothing", "fix": "see its stderr", "complained": True},
            False,
            f"see its stderr; {SILENT}",
        ),
        ({"status": 500, "complained": True}, True, ""),
        ({"status": 200, "exit": "0", "complained": True}, False, ""),
        ({"status": 500}, False, ""),
    ],
)
def test_a_refusal_that_nobody_was_told_of_is_said_to_be_possible(
    scene: list[Scene], tmp_path: Path, fields: dict[str, Any], told: bool, fix: str
) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        for name, value in fields.items():
            setattr(mine, name, value)
        if told:
            one.tell(GONE)
        await one.written(mine)
        assert one.lines[-1].fix == fix

    asyncio.run(work())


def test_without_a_listener_nothing_is_known_of_silent_refusals(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        mine.status, mine.complained = 500, True
        one.peer.close()
        one.poller.dispatch()
        await one.written(mine)
        assert one.lines[-1].fix == ""

    asyncio.run(work())
