"""How long one request takes when there is no other, and was none for a while. Called by tests/bench.

Decides what alone means: 50 ms after the answer to the last. Contestants take turns.
"""

import time
from collections.abc import Sequence
from typing import Any

from tests.bench.contestants import Contestant
from tests.bench.place import BenchFailed, Place
from tests.bench.rates import Say
from tests.bench.running import all_running, get, warm_up
from tests.bench.scripts import SCRIPTS, Script

_PAUSE = 0.05  # seconds


def lone(place: Place, kinds: Sequence[type[Contestant]], times: int, say: Say,
         left_out: dict[str, str]) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of contestant, script, round, milliseconds."""
    ones = [kind(place) for kind in kinds]
    rows = []
    with all_running(ones, place):
        for script in SCRIPTS:
            say(f"a lone request: {script.title}")
            taking = [one for one in ones if one.takes(script) and warm_up(one, script, left_out)]
            rows += [_row(one, script, number) for number in range(times) for one in taking]
    return rows


def _row(one: Contestant, script: Script, number: int) -> dict[str, Any]:
    time.sleep(_PAUSE)
    began = time.perf_counter()
    status, _ = get(one, script.name)
    took = time.perf_counter() - began
    if status != 200:
        raise BenchFailed(f"{one.name} answered {script.title} with {status}")
    return {"contestant": one.name, "script": script.name, "round": number, "ms": took * 1000}
