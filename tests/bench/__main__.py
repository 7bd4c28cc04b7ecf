"""selcgi and other launchers of CGI scripts side by side: rate, latency, CPU time, memory.

All start the same scripts as user nobody on the same machine; those that are no web server are behind one nginx. The
runs are interleaved and repeated; ratios are of runs side by side. Needs root on Debian, and installs what is missing
(by apt-get, no service is started). Absolute figures of two machines can't be compared, ratios can.

    tests/bench/compare --quick                                     a minute: is it right, roughly?
    tests/bench/compare --json all.json --svg all.svg --markdown    everything: 20 minutes
    tests/bench/compare --only c --only sh --json all.json          some parts, at most 4 minutes each; the
                                                                    file keeps what it has of the others
    tests/bench/compare --only none --json all.json --svg all.svg   the plot of what the file has
    tests/bench/compare --only c --before ../old                    with selcgi of another tree beside it
Exit: 0 measured, 3 it could not be.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import large, lone, machine, rates, report, results, secured, slow
from tests.bench.contestants import CONTESTANTS, NAMES, Contestant, Front, Selcgi
from tests.bench.place import Place, copy_tree, exit_code, open_place
from tests.bench.rates import Volume
from tests.bench.scripts import BY_NAME, SCRIPTS, write_scripts
from tests.guest.host import install_host_programs

PROGRAMS = {"wrk": "wrk", "gcc": "gcc", "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev", "setpriv": "util-linux",
            "perl": "perl", "python3": "python3-venv"}  # fmt: skip
QUICK = Volume(rounds=1, seconds=2, connections=(8,))


@dataclass(frozen=True)
class Bench:
    place: Place
    kinds: Sequence[type[Contestant]]
    volume: Volume
    say: Callable[[str], None]
    left_out: dict[str, str]  # who is not measured, and why

    @property
    def quick(self) -> bool:
        return self.volume.rounds <= QUICK.rounds


Rows = list[dict[str, Any]]
OTHERS: dict[str, Callable[[Bench], Rows]] = {
    "lone": lambda bench: lone.lone(bench.place, bench.kinds, 5 if bench.quick else 40, bench.say, bench.left_out),
    "guest": lambda bench: secured.secured(*((1, 20, 1) if bench.quick else (3, 60, 3)), bench.say),
    "bodies": lambda bench: large.large(bench.place, bench.kinds, *((64, 1) if bench.quick else (1024, 4)), bench.say),
    "slow": lambda bench: slow.slow(bench.place, bench.kinds, 100 if bench.quick else 1000, bench.say),
}
PARTS = (*(script.name for script in SCRIPTS), *OTHERS)


def say(words: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}"[:120], end="", file=sys.stderr, flush=True)


def contestants(place: Place, names: Sequence[str], before: Path | None) -> list[type[Contestant]]:
    kinds = [kind for kind in CONTESTANTS if kind.name in (names or NAMES)]
    if before:
        copy_tree(before, place.folder / "before")
        kinds.append(
            type("SelcgiBefore", (Selcgi,), {"name": "selcgi before", "tree": lambda _: place.folder / "before"})
        )
    return kinds


def install() -> None:
    """What all contestants need. GuestFailed when apt-get can't."""
    taking: tuple[type[Contestant], ...] = (*CONTESTANTS, Front)
    install_host_programs({**PROGRAMS, **{name: one for kind in taking for name, one in kind.programs.items()}})


def measure(values: argparse.Namespace, found: results.Results) -> None:
    """Every part that is wanted, into `found`; each is written as soon as it is measured."""
    volume = QUICK if values.quick else Volume(values.rounds, values.seconds, tuple(values.connections))
    install()
    with open_place() as place:
        write_scripts(place)
        kinds = contestants(place, values.launcher, values.before)
        built = [kind for kind in kinds if kind(place).built()]
        found.left_out |= {kind.name: "not built in this tree" for kind in kinds if kind not in built}
        bench = Bench(place, built, volume, say, found.left_out)
        found.machine = machine.describe(place.python)
        for part in values.only or PARTS:
            began = time.time()
            measure_part(bench, part, found)
            found.note(part, " ".join(sys.argv[1:]), began)
            if values.json:
                results.write(values.json, found.text())


def measure_part(bench: Bench, part: str, found: results.Results) -> None:
    if part in OTHERS:
        found.others[part] = OTHERS[part](bench)
        say("")
        print(report.OTHERS[part](found.others[part]), flush=True)
        return
    samples = rates.rates(bench.place, bench.kinds, BY_NAME[part], bench.volume, bench.say, bench.left_out)
    found.take(part, samples)
    say("")
    for name, why in found.left_out.items():
        print(f"left out: {name}: {why}", flush=True)
    print(report.terminal(samples), flush=True)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/bench/compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="PART", choices=[*PARTS, "none"],
                        help=f"measure this part; repeatable; of {', '.join(PARTS)}, none")  # fmt: skip
    parser.add_argument("--launcher", action="append", metavar="NAME", choices=NAMES, default=[],
                        help=f"with this one; repeatable; of {', '.join(NAMES)}; default: all")  # fmt: skip
    parser.add_argument("--before", type=Path, metavar="TREE", help="another working tree, measured as one more")
    parser.add_argument("--quick", action="store_true", help="one short round of all, 8 connections only")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=2, help="of each run of wrk; default: 2")
    parser.add_argument("--connections", type=int, nargs="+", default=(1, 8, 64), help="default: 1 8 64")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures; what it has of other parts stays")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="the plot")
    parser.add_argument("--markdown", action="store_true", help="print the tables of contrib/bench")
    return parser


def run(values: argparse.Namespace) -> None:
    found = results.read(values.json) if values.json else results.Results()
    if values.only != ["none"]:
        measure(values, found)
    if values.svg:
        words = f"tests/bench/compare --json {values.json or 'FILE'} --svg {values.svg}"
        results.write(values.svg, report.svg(found, words))
    if values.markdown:
        print(report.markdown(found))


if __name__ == "__main__":
    sys.exit(exit_code("compare", lambda: run(options().parse_args())))
