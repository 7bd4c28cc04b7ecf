"""Requests a second, latency and CPU time of every launcher, for each script and number of connections.

Decides the order: in each round every contestant has its turn at each number of connections, so that what else the
machine does hits all alike. Called by tests/bench.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import measure
from tests.bench.contestants import Contestant
from tests.bench.measure import Sample
from tests.bench.place import Place
from tests.bench.running import all_running, warm_up
from tests.bench.scripts import Script

_ANSWERS = 4  # of each connection, at least
_LONGEST = 20  # seconds of a run
_FOREIGN = 0.05  # of the machine, that others may take without a second try
_TRIES = 2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Volume:
    """How much is measured."""

    rounds: int = 5
    seconds: int = 2  # of each run, or more: see long_enough
    connections: tuple[int, ...] = (1, 8, 64)

    def long_enough(self, connections: int, took: float) -> int:
        """Seconds of a run in which each connection gets some answers, when one request alone takes `took` seconds."""
        cores = len(os.sched_getaffinity(0))
        return min(max(self.seconds, math.ceil(_ANSWERS * connections * took / cores)), _LONGEST)


def quiet(run: Callable[[], Sample]) -> Sample:
    """Of some runs the one least disturbed by others; the first that hardly is, is the last."""
    found = run()
    for _ in range(_TRIES - 1):
        if found.foreign <= _FOREIGN:
            break
        found = min(found, run(), key=lambda one: one.foreign)
    return found


def rates(place: Place, kinds: Sequence[type[Contestant]], script: Script, volume: Volume, say: Say,
          left_out: dict[str, str]) -> list[Sample]:  # fmt: skip
    """Who does not answer as it should is in `left_out`, with the reason, and not measured."""
    ones = [one for one in (kind(place) for kind in kinds) if one.takes(script)]
    samples = []
    with all_running(ones, place) as front:
        taking = {one: took for one in ones if (took := warm_up(one, script, left_out))}
        for number in range(volume.rounds):
            for connections in volume.connections:
                for one, took in taking.items():
                    seconds = volume.long_enough(connections, took)
                    found = quiet(lambda: measure.sample(one, front, script.name, connections, number, seconds))  # noqa: B023
                    say(
                        f"{script.title}, round {number + 1}: {one.name}, {connections} connections: {found.rate:.0f}/s"
                    )
                    samples.append(found)
    return samples
