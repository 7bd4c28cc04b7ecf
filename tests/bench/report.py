"""What people see of the figures: a table on the terminal, tables in Markdown, and the plot.

Decides which of all figures are shown; the file of figures has the rest. Pure. Called by tests/bench.
"""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench import figures, machine, plot
from tests.bench.contestants import NAMES
from tests.bench.figures import Cell
from tests.bench.measure import Sample
from tests.bench.place import BenchFailed
from tests.bench.results import Results
from tests.bench.scripts import title

COMMAND = "tests/bench/compare"
_ROW = "{:<20} {:>5} {:<17} {:>8} {:>8} {:>8} {:>9} {:>8} {:>7} {:>8} {:>8}  {}"
_HEAD = ("script", "conn.", "launcher", "req/s", "p50 ms", "p99 ms", "own us", "scripts", "nginx", "all us", "MiB")
_SHOWN = 8  # connections, in Markdown and the plot
RATIOS: dict[str, Callable[[Sample], float]] = {
    "rate": lambda one: one.rate,
    "99th percentile of latency": lambda one: one.p99,
    "requests a second of CPU time (its own, scripts', nginx's)": lambda one: 1e6 / one.cpu_us,
}


def terminal(samples: Sequence[Sample]) -> str:
    """Medians; the last column is selcgi's rate to this one's, with the least and the greatest of the rounds."""
    rows = [_ROW.format(*_HEAD, "selcgi's rate to its")]
    for cell in figures.cells(samples):
        for name, found in cell.by_name.items():
            rows.append(_terminal_row(cell, name, found))
    return "\n".join(rows)


def _terminal_row(cell: Cell, name: str, found: list[Sample]) -> str:
    def middle(digits: int, *fields: str) -> str:
        return f"{figures.median(found, lambda one: sum(getattr(one, field) for field in fields)):.{digits}f}"

    ratio = "" if name == "selcgi" else str(cell.ratio("selcgi", name, RATIOS["rate"]) or "")
    own = ("launcher_us", "scripts_us", "front_us")
    mib = f"{figures.median(found, lambda one: one.pss_kib) / 1024:.1f}"
    numbers = (middle(0, "rate"), middle(2, "p50"), middle(2, "p99"), *(middle(0, one) for one in own), middle(0, *own))
    return _ROW.format(title(cell.script), cell.connections, name, *numbers, mib, ratio)


def markdown(results: Results) -> str:
    """Tables for contrib/bench/README.md: rates, what a request costs, slow requests; only of what was measured."""
    samples = results.samples()
    shown = [cell for cell in figures.cells(samples) if cell.connections == _SHOWN]
    parts = [f"On {machine.sentence(results.machine)}. Made by `{COMMAND}`."] if results.machine else []
    if shown:
        ratios = [_ratios(shown, what, of) for what, of in RATIOS.items()]
        parts += [_rates(shown), *ratios, _costs(samples)]
        parts.append(_disturbance(samples))
    parts += [OTHERS[name](rows) for name, rows in results.others.items()]
    parts += [f"Not measured: {name}: {why.splitlines()[0]}." for name, why in results.left_out.items()]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _names(cells: Sequence[Cell]) -> list[str]:
    """Of those measured, in the order of the contestants."""
    found = {name for cell in cells for name in cell.by_name}
    return [*(name for name in NAMES if name in found), *sorted(found - set(NAMES))]


def _disturbance(samples: Sequence[Sample]) -> str:
    foreign = figures.middle([one.foreign for one in samples])
    return f"While this was measured, other programs took {foreign:.0%} of the machine's CPU time (median of the runs)."


def _rates(cells: Sequence[Cell]) -> str:
    names = _names(cells)
    rows = [[title(cell.script), *(f"{cell.rate(name):.0f}" if name in cell.by_name else "-" for name in names)]
            for cell in cells]  # fmt: skip
    return f"Requests a second, {_SHOWN} connections:\n\n" + table(["script", *names], rows)


def _ratios(cells: Sequence[Cell], what: str, of: Callable[[Sample], float]) -> str:
    others = [name for name in _names(cells) if not name.startswith("selcgi")]
    rows = []
    for cell in cells:
        ratios = [str(cell.ratio("selcgi", other, of) or "-") for other in others]
        best = cell.best_of_others()
        rows.append([title(cell.script), *ratios, str(cell.ratio("selcgi warm", best, of) or "-")])
    head = ["script", *(f"to {other}" for other in others), "warm to the fastest of them"]
    return f"selcgi's {what} to theirs, {_SHOWN} connections (median of the rounds, least to greatest):\n\n" + table(
        head, rows
    )


def _costs(samples: Sequence[Sample]) -> str:
    rows = []
    for cell in figures.cells([one for one in samples if one.script in ("c", "sh", "imports")]):
        for name in _names([cell]):
            found = cell.by_name[name]
            own, scripts, front = (figures.median(found, lambda one, field=field: getattr(one, field))  # type: ignore[misc]
                                   for field in ("launcher_us", "scripts_us", "front_us"))  # fmt: skip
            p50, p99 = figures.median(found, lambda one: one.p50), figures.median(found, lambda one: one.p99)
            mib = figures.median(found, lambda one: one.pss_kib) / 1024
            numbers = [f"{cell.rate(name):.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{own:.0f}", f"{scripts:.0f}"]
            rows.append([title(cell.script), str(cell.connections), name, *numbers, f"{front:.0f}", f"{mib:.0f}"])
    head = [
        "script",
        "connections",
        "launcher",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU us: its own",
        "scripts",
        "nginx",
    ]
    return "What a request costs, and the launcher's memory:\n\n" + table([*head, "MiB"], rows)


def _slow(rows: Sequence[dict[str, Any]]) -> str:
    found = [[row["contestant"], f"{row['answered']} of {row['requests']}", f"{row['seconds']:.1f}",
              f"{row['idle_pss_kib'] / 1024:.0f}", f"{row['most_pss_kib'] / 1024:.0f}"] for row in rows]  # fmt: skip
    head = ["launcher", "answered", "seconds to the last", "MiB idle", "MiB at most"]
    return f"Requests to a script that {title('slow')}, all at once:\n\n" + table(head, found)


def _lone(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    found = []
    for script in dict.fromkeys(row["script"] for row in rows):
        times = {
            name: [row["ms"] for row in rows if (row["contestant"], row["script"]) == (name, script)] for name in names
        }
        found.append([title(script), *(f"{figures.middle(times[name]):.2f}" if times[name] else "-" for name in names)])
    return "A lone request, milliseconds:\n\n" + table(["script", *names], found)


def _guest(rows: Sequence[dict[str, Any]]) -> str:
    """Boot by boot, each the median of its rounds."""
    found = []
    for script in dict.fromkeys(row["script"] for row in rows):
        of = {
            (row["mode"], row["boot"]): figures.middle(
                [one["rate"] for one in rows if all(one[key] == row[key] for key in ("script", "mode", "boot"))]
            )
            for row in rows
            if row["script"] == script
        }
        boots = [boot for mode, boot in of if mode == "off"]
        ratio = figures.of_pairs([(of["required", boot], of["off", boot]) for boot in boots])
        found.append([TITLES[script], str(ratio)])
    return "The rate in an enforcing guest to that in one without SELinux:\n\n" + table(["script", "ratio"], found)


def _bodies(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    found = []
    for way, direction in dict.fromkeys((row["way"], row["direction"]) for row in rows):
        of = {
            (row["contestant"], row["round"]): row for row in rows if (row["way"], row["direction"]) == (way, direction)
        }
        rounds = sorted({number for _, number in of})
        seconds = {name: [of[name, n]["seconds"] for n in rounds if (name, n) in of] for name in names}
        pairs = [(of["fcgiwrap", n]["seconds"], of["selcgi", n]["seconds"]) for n in rounds
                 if ("fcgiwrap", n) in of and ("selcgi", n) in of]  # fmt: skip
        times = [f"{figures.middle(seconds[name]):.2f}" if seconds[name] else "-" for name in names]
        found.append([f"{direction}, {way}", *times, str(figures.of_pairs(pairs) or "-")])
    head = ["way", *names, "fcgiwrap's time to selcgi's"]
    return f"Seconds for a body of {rows[0]['mib']} MiB:\n\n" + table(head, found)


OTHERS: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "lone": _lone,
    "guest": _guest,
    "bodies": _bodies,
    "slow": _slow,
}
TITLES = {"c.cgi": "static C", "sh.cgi": "sh", "warm.py": "python, warm"}


def svg(results: Results, command: str) -> str:
    cells = [cell for cell in figures.cells(results.samples()) if cell.connections == _SHOWN]
    if not cells:
        raise BenchFailed(f"there is no plot without a script measured at {_SHOWN} connections: measure one first")
    groups = {title(cell.script): {name: cell.rate(name) for name in cell.by_name} for cell in cells}
    caption = [
        _disturbance(results.samples()),
        *textwrap.wrap(machine.sentence(results.machine), 150),
        f"Made by: {command}",
    ]
    axis = f"requests a second, {_SHOWN} connections (logarithmic)"
    return plot.bars("CGI launchers, the same scripts", axis, groups, _names(cells), caption)
