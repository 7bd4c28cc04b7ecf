"""The bench measures what it says: figures from given samples, plots that are XML, and launchers that answer right.

No speed is judged here. The launchers are installed when they are missing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import figures, growth, plot, report, results, secured
from tests.bench.__main__ import install
from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.measure import Sample, cpu_us, launcher, processes_us, pss_kib, read_wrk, sample
from tests.bench.place import BenchFailed, Place, open_place
from tests.bench.rates import quiet
from tests.bench.running import all_running, check
from tests.bench.scripts import SCRIPTS, write_scripts
from tests.bench.simulation import Costs, Machine

REPORT = """Running 2s test @ http://127.0.0.1:1/c.cgi
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   872.00ms  174.05ms   1.09s    62.50%
    Req/Sec     8.75      2.06    11.00     50.00%
  Latency Distribution
     50%  994.00us
     75%    1.04s 
     90%    1.05s 
     99%    1.09s 
  16 requests in 2.10s, 2.69KB read
Requests/sec:      7.62
Transfer/sec:      1.28KB
"""  # noqa: W291 - as wrk prints it
ONE = Sample("selcgi", "c", 8, 0, 100, 50.0, 1.0, 2.0, 300.0, 400.0, 50.0, 1024, 0.01)
PAIRS = [(50.0, 100.0), (90.0, 100.0), (30.0, 20.0)]  # rates of selcgi and fcgiwrap, round by round
RATE = report.RATIOS["rate"]
SVG = "{http://www.w3.org/2000/svg}"


def samples() -> list[Sample]:
    return [
        replace(ONE, contestant=name, round=number, rate=rate)
        for number, pair in enumerate(PAIRS)
        for name, rate in zip(("selcgi", "fcgiwrap"), pair, strict=True)
    ]


def test_a_report_of_wrk_is_read() -> None:
    load = read_wrk(REPORT)
    assert (load.requests, load.rate, load.p50, load.p99) == (16, 7.62, 0.994, 1090.0)


@pytest.mark.parametrize(
    "words", ["Non-2xx or 3xx responses: 3", "Socket errors: connect 0, read 47, write 0, timeout 0"]
)
def test_a_run_with_failed_requests_is_no_measurement(words: str) -> None:
    with pytest.raises(BenchFailed, match="failed requests"):
        read_wrk(f"{REPORT}  {words}\n")


def test_a_run_without_requests_is_no_measurement() -> None:
    with pytest.raises(BenchFailed, match="measured nothing"):
        read_wrk(REPORT.replace("16 requests", "0 requests"))


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    (cell,) = figures.cells(samples())
    found = cell.ratio("selcgi", "fcgiwrap", RATE)
    assert found == figures.Ratio(0.9, 0.5, 1.5)
    assert str(found) == "0.90 (0.50 to 1.50)"
    assert cell.rate("fcgiwrap") == 100.0
    assert cell.best_of_others() == "fcgiwrap"
    assert cell.ratio("selcgi warm", "fcgiwrap", RATE) is None


def test_a_round_that_one_lacks_makes_no_ratio() -> None:
    (cell,) = figures.cells([one for one in samples() if (one.contestant, one.round) != ("fcgiwrap", 1)])
    assert cell.ratio("selcgi", "fcgiwrap", RATE) == figures.Ratio(1.0, 0.5, 1.5)


def test_a_disturbed_run_is_repeated_and_the_least_disturbed_counts() -> None:
    runs = [replace(ONE, round=n, foreign=foreign) for n, foreign in enumerate((0.5, 0.2, 0.3, 0.0))]
    waiting = iter(runs)
    assert quiet(lambda: next(waiting)) == runs[1]
    assert next(waiting) == runs[2]
    waiting = iter(runs[3:])
    assert quiet(lambda: next(waiting)) == runs[3]


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    found = results.Results(
        {"cores": 2}, [], {"c": samples()}, {"slow": [{"answered": 9}]}, {"selcgi warm": "not built"}
    )
    path = tmp_path / "figures.json"
    results.write(path, found.text())
    assert results.read(path) == found
    assert results.read(tmp_path / "none.json") == results.Results()
    path.write_text("{}")
    with pytest.raises(BenchFailed, match="no figures"):
        results.read(path)


def test_the_plot_is_xml_with_a_bar_for_each_launcher() -> None:
    machine = {"cores": 2, "processor": "A & B <c>", "kernel": "6", "distribution": "D", "libc": "l", "versions": {}}
    root = ElementTree.fromstring(report.svg(results.Results(machine, [], {"c": samples()}), "compare --json x"))
    words = ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]
    assert {"static C", "fcgiwrap", "selcgi", "50", "100", "Made by: compare --json x"} <= set(words)
    back, *rectangles = root.iter(f"{SVG}rect")
    assert back.get("class") == "back"
    assert len(rectangles) == 4  # two of the legend, two bars
    assert float(rectangles[2].get("width", "0")) < float(rectangles[3].get("width", "0"))


def test_lines_are_xml_and_rise_with_their_values() -> None:
    panels = [plot.Panel("requests/s", {"a": [(1, 10.0), (1000, 20.0)], "b": [(1, 1.0), (1000, 1.0)]}, ("b",))]
    root = ElementTree.fromstring(plot.lines("growth", "users", panels, ["caption"]))
    first, second = root.iter(f"{SVG}polyline")
    (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in first.get("points", "").split())
    assert x1 < x2
    assert y1 > y2  # pixels count downwards
    assert first.get("stroke-dasharray") is None
    assert second.get("stroke-dasharray")


def test_the_tables_hold_what_was_measured() -> None:
    text = report.markdown(results.Results({}, [], {"c": samples()}))
    assert "| static C | 50 | 100 |" in text
    assert "| static C | 0.90 (0.50 to 1.50) | - |" in text
    assert "selcgi's 99th percentile of latency to theirs" in text
    assert report.RATIOS["requests a second of CPU time (its own, scripts', nginx's)"](ONE) == 1e6 / 750
    assert "other programs took 1% of the machine's CPU time" in text
    assert "slow" not in text
    assert "0.90 (0.50 to 1.50)" in report.terminal(samples())


def test_the_guests_are_compared_boot_by_boot() -> None:
    rates = {("required", 0): (50.0, 60.0, 70.0), ("off", 0): (80.0, 100.0, 90.0),
             ("required", 1): (10.0,), ("off", 1): (40.0,)}  # fmt: skip
    rows = [
        {"mode": mode, "boot": boot, "script": "c.cgi", "rate": rate, "own_us": 1.0}
        for (mode, boot), found in rates.items()
        for rate in found
    ]
    assert "| static C | 0.46 (0.25 to 0.67) |" in report.OTHERS["guest"](rows)


COSTS = Costs(nginx=50.0, worker=400.0, script=550.0)


@pytest.mark.parametrize(
    ("cores", "workers", "bound"), [(1, 1, 1000), (64, 1, 2500), (64, 4, 10_000), (64, 64, 20_000)]
)
def test_simulated_requests_go_as_fast_as_the_busiest_lets_them(cores: int, workers: int, bound: float) -> None:
    """All the time of one processor; one worker; four of them; nginx."""
    rate = Machine(cores, workers, 256, COSTS).rate(5_000)
    assert 0.9 * bound < rate < 1.06 * bound


def test_the_growth_is_drawn_with_what_was_simulated_apart() -> None:
    costs = {"launcher_us": 400.0, "scripts_us": 550.0, "front_us": 50.0}
    rows = [
        {"size": n, "round": 0, "rate": 500.0 * n, "pss_kib": 1024 * n, "foreign": 0.02, **costs} for n in (1, 2, 8)
    ]
    machine = {"cores": 2, "processor": "p", "kernel": "6", "distribution": "D", "libc": "l", "versions": {}}
    root = ElementTree.fromstring(growth.svg("workers", results.Results(machine, others={"workers": rows}), "growth"))
    measured, simulated, memory = root.iter(f"{SVG}polyline")
    assert [len(one.get("points", "").split()) for one in (measured, simulated, memory)] == [2, 3, 3]
    assert [bool(one.get("stroke-dasharray")) for one in (measured, simulated, memory)] == [False, True, False]


@pytest.mark.guest
def test_the_same_scripts_are_measured_with_selinux_and_without() -> None:
    rows = secured.secured(1, 4, 1, lambda _: None)
    assert [(row["mode"], row["script"]) for row in rows] == [
        (mode, script) for mode in ("required", "off") for script in report.TITLES
    ]
    assert all(row["rate"] > 0 for row in rows)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    install()
    with open_place() as place:
        write_scripts(place)
        yield place
    assert not place.folder.exists()
    assert not place.cgroup.exists()


@pytest.mark.web
@pytest.mark.parametrize("kind", CONTESTANTS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_a_launcher_answers_every_script_and_is_measured(place: Place, kind: type[Contestant]) -> None:
    one = kind(place)
    assert one.built()
    with all_running([one], place) as front:
        for script in SCRIPTS:
            if one.takes(script):
                check(one, script)
        pids = launcher(one)
        assert pids
        assert sum(processes_us(pids).values()) > 0
        assert pss_kib(pids) > 0
        found = sample(one, front, "python", 1, 0, 1)
    assert found.requests > 0
    assert found.p99 >= found.p50 > 0
    assert found.launcher_us > 0
    assert found.scripts_us > 0
    assert (found.front_us > 0) == (one.kind != "direct")
    assert not one.cgroup.exists()


@pytest.mark.web
def test_a_cgroup_counts_what_its_processes_took(place: Place) -> None:
    with all_running([CONTESTANTS[0](place)], place) as front:
        assert cpu_us(front.cgroup) > 0


@pytest.mark.web
@pytest.mark.parametrize("name", growth.PARTS)
def test_growth_is_measured_at_its_smallest(place: Place, name: str) -> None:
    part = growth.PARTS[name]
    row = part.row(place, part.few[0], 1)
    assert row["rate"] > 0
    assert row["pss_kib"] > 0
