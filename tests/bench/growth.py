"""How cost grows: requests a second and memory of selcgi with more workers, rules, requests at once, warm interpreters.

Each size is measured in each round, in turn, with a selcgi of its own behind nginx, asked for a static program (warm
interpreters: for Python scripts). What is said of more workers than processors is simulated, from the CPU time that was
measured: see simulation.py. Needs what tests/bench/compare needs.

    tests/bench/growth --quick                                     two minutes, small sizes
    tests/bench/growth --json growth.json --svg FOLDER             everything, 12 minutes
    tests/bench/growth --only workers --json growth.json           at most 4 minutes each; the file keeps the others
    tests/bench/growth --only none --json growth.json --svg FOLDER the plots of what the file has
Exit: 0 measured, 3 it could not be.
"""

import argparse
import os
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine, measure, plot, results, slow
from tests.bench.__main__ import install, say
from tests.bench.contestants import RULES, Selcgi
from tests.bench.place import PYTHON, BenchFailed, Place, exit_code, open_place
from tests.bench.running import all_running, get
from tests.bench.scripts import PLAIN, write_scripts
from tests.bench.simulation import Costs, Machine
from tests.stack import wait_until

Row = dict[str, Any]
CONNECTIONS = 64
_CONTEXT = "user_webapp_t:s0"
_SIMULATED = 20_000  # requests


class Tuned(Selcgi):
    """selcgi with rules and options of its own; a name in the query is the user's."""

    identity = ",identity=remote-user"

    def __init__(self, place: Place, *more: str, text: str = RULES) -> None:
        super().__init__(place, 1024)
        self._more, self._text = more, text

    def rules(self) -> str:
        return self._text

    def options(self) -> tuple[str, ...]:
        return (*super().options(), *self._more)


@dataclass(frozen=True)
class Part:
    """One question. `row` measures one size, in one round."""

    axis: str
    sizes: Sequence[int]
    few: Sequence[int]  # of them, with --quick
    row: Callable[[Place, int, int], Row]


def cost(one: Tuned, script: str, connections: int, seconds: int, lua: str = "",
         first: Callable[[], None] = lambda: None) -> Row:  # fmt: skip
    """What a running selcgi answers, and its memory after that; `first` is done before."""
    began = time.monotonic()
    path = one.file("wrk.lua", lua) if lua else None
    with all_running([one], one.place) as front:
        start = time.monotonic() - began
        first()
        found = measure.sample(one, front, script, connections, 0, seconds, path)
    costs = {"launcher_us": found.launcher_us, "scripts_us": found.scripts_us, "front_us": found.front_us}
    costs["foreign"] = found.foreign
    return {"rate": found.rate, "p99": found.p99, "pss_kib": found.pss_kib, "start_seconds": start, **costs}


def workers(place: Place, size: int, seconds: int) -> Row:
    """With more workers than processors the rate says nothing, the memory does."""
    one = Tuned(place, f"--workers={size}")
    all_there = lambda: len(measure.launcher(one)) > size  # noqa: E731 - and the supervisor
    return cost(one, "c", CONNECTIONS, seconds, first=lambda: wait_until("all workers", all_there))


def mapping(place: Place, size: int, seconds: int) -> Row:
    """A rule for each user, all with categories of their own; each request is another's."""
    text = "".join(f"user{n} {_CONTEXT}:c{n % 1000},c{1000 + n // 1000 % 24}\n" for n in range(size))
    lua = f'request = function() return wrk.format("GET", "/c.cgi?user=user" .. math.random(0, {size - 1})) end\n'
    return cost(Tuned(place, text=text + RULES), "c", 8, seconds, lua)


def concurrent(place: Place, size: int, seconds: int) -> Row:
    """The rate of a cheap script, and the memory while as many that sleep are open."""
    row = cost(Tuned(place), "c", size, seconds)
    open_ones = slow.at_once(Tuned(place), size, say)
    if open_ones["answered"] != size:
        raise BenchFailed(f"{open_ones['answered']} of {size} slow requests were answered")
    return {**row, "pss_kib": open_ones["most_pss_kib"], "seconds_to_last": open_ones["seconds"]}


def zygotes(place: Place, size: int, seconds: int) -> Row:
    """One worker with so many warm interpreters, each of which has answered once before."""
    names = [f"warm{n}" for n in range(size)]
    for name in names:
        place.file(f"cgi/{name}.cgi", f"#!{PYTHON}\n{PLAIN}", 0o755)
    one = Tuned(place, "--workers=1", "--warm=*/warm*.cgi", f"--warm-zygotes={size}")
    lua = f'request = function() return wrk.format("GET", "/warm" .. math.random(0, {size - 1}) .. ".cgi") end\n'

    def first() -> None:
        for name in names:
            status, _ = get(one, name)
            if status != 200:
                raise BenchFailed(f"{name} answered {status}; selcgi said:\n{one.said()}")

    return cost(one, names[0], 8, seconds, lua, first)


PARTS: Mapping[str, Part] = {
    "workers": Part("workers", (1, 2, 4, 8, 16), (1, 2), workers),
    "mapping": Part("rules in the mapping", (10, 100, 1000, 10_000, 100_000, 1_000_000), (10, 10_000), mapping),
    "concurrent": Part("requests at once", (10, 30, 100, 300, 1000), (10, 100), concurrent),
    "zygotes": Part("warm interpreters", (1, 2, 5, 10, 20, 50, 100, 200), (1, 10), zygotes),
}


def simulated(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Rates with as many processors as workers, but no less than there are, from the median costs of those measured."""
    cores = len(os.sched_getaffinity(0))
    known = [row for row in rows if row["size"] <= cores]
    costs = Costs(
        *(statistics.median(row[name] for row in known) for name in ("front_us", "launcher_us", "scripts_us"))
    )
    sizes = sorted({row["size"] for row in rows})
    return [(n, Machine(max(n, cores), n, CONNECTIONS, costs).rate(_SIMULATED)) for n in sizes]


def medians(rows: Sequence[Row], field: str) -> list[tuple[float, float]]:
    sizes = sorted({row["size"] for row in rows})
    return [(n, statistics.median(row[field] for row in rows if row["size"] == n)) for n in sizes]


def svg(name: str, found: results.Results, command: str) -> str:
    """Rate above, memory below."""
    rows = found.others[name]
    memory = [(n, kib / 1024) for n, kib in medians(rows, "pss_kib")]
    foreign = statistics.median(row["foreign"] for row in rows)
    disturbed = (
        f"While this was measured, other programs took {foreign:.0%} of the machine's CPU time (median of the runs)."
    )
    caption = [disturbed, *textwrap.wrap(machine.sentence(found.machine), 150), f"Made by: {command}"]
    rates = {"measured": medians(rows, "rate")}
    if name == "workers":
        cores = found.machine["cores"]
        rates = {"measured": [(n, rate) for n, rate in rates["measured"] if n <= cores], "simulated": simulated(rows)}
        caption.insert(0, f"Simulated: as many processors as workers, at least {cores}; an upper bound.")
    panels = [plot.Panel("requests a second", rates, ("simulated",)), plot.Panel("MiB of selcgi", {"measured": memory})]
    return plot.lines(f"selcgi: cost by {PARTS[name].axis}", f"{PARTS[name].axis} (logarithmic)", panels, caption)


def rows_of(place: Place, part: Part, values: argparse.Namespace) -> Iterator[Row]:
    for number in range(1 if values.quick else values.rounds):
        for size in part.few if values.quick else part.sizes:
            say(f"round {number + 1}: {size} {part.axis}")
            row = {"size": size, "round": number, **part.row(place, size, values.seconds)}
            say("")
            print(f"{size:>9} {part.axis}: {row['rate']:.0f}/s, {row['pss_kib'] / 1024:.1f} MiB", flush=True)
            yield row


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/bench/growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="PART", choices=[*PARTS, "none"],
                        help=f"measure this part; repeatable; of {', '.join(PARTS)}, none")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one round of few sizes")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk; default: 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures; what it has of other parts stays")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="a plot of each part: growth-PART.svg")
    return parser


def run(values: argparse.Namespace) -> None:
    found = results.read(values.json) if values.json else results.Results()
    names = [name for name in values.only or PARTS if name != "none"]
    if names:
        install()
        with open_place() as place:
            write_scripts(place)
            found.machine = machine.describe(place.python)
            for name in names:
                began = time.time()
                found.others[name] = list(rows_of(place, PARTS[name], values))
                found.note(name, " ".join(sys.argv[1:]), began)
                if values.json:
                    results.write(values.json, found.text())
    for name in found.others if values.svg else ():
        words = f"tests/bench/growth --json {values.json or 'FILE'} --svg {values.svg}"
        results.write(values.svg / f"growth-{name}.svg", svg(name, found, words))


if __name__ == "__main__":
    sys.exit(exit_code("growth", lambda: run(options().parse_args())))
