"""What one run of wrk costs: rate and latency as the client sees them, CPU time and memory as the kernel counts them.

Decides whose time is whose: a contestant's cgroup has all that it and its scripts took, its processes that are there
before and after are the launcher alone; the web server in front has a cgroup of its own, and serves one contestant at a
time. A run with a failed request is no measurement. Called by tests/bench.
"""

import contextlib
import os
import re
import resource
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.contestants import Contestant, Front
from tests.bench.place import BenchFailed

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_LATENCY = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s|m)\s*$", re.M)
_REQUESTS = re.compile(r"^\s+(\d+) requests in", re.M)
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.M)
_FAILED = re.compile(r"Non-2xx.*|Socket errors.*")


@dataclass(frozen=True)
class Load:
    """What wrk saw. Milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Sample:
    """One run. Microseconds of CPU time a request: the launcher's own, of its scripts, of the web server in front."""

    contestant: str
    script: str
    connections: int
    round: int
    requests: int
    rate: float
    p50: float
    p99: float
    launcher_us: float
    scripts_us: float
    front_us: float
    pss_kib: int
    foreign: float  # part of the machine's CPU time that others took meanwhile, or the host of a virtual machine

    @property
    def cpu_us(self) -> float:
        """All that a request took; of the client nothing."""
        return self.launcher_us + self.scripts_us + self.front_us

    def json(self) -> dict[str, object]:
        return asdict(self)


def read_wrk(text: str) -> Load:
    """wrk's report. BenchFailed when a request of it failed."""
    if failed := _FAILED.search(text):
        raise BenchFailed(f"wrk saw failed requests: {failed.group()}")
    requests, rate = _REQUESTS.search(text), _RATE.search(text)
    latency = {name: float(number) * _UNITS[unit] for name, number, unit in _LATENCY.findall(text)}
    if requests is None or rate is None or set(latency) != {"50", "99"} or not int(requests.group(1)):
        raise BenchFailed(f"wrk measured nothing: {text[-500:]}")
    return Load(int(requests.group(1)), float(rate.group(1)), latency["50"], latency["99"])


def wrk(url: str, connections: int, seconds: int, lua: Path | None = None) -> Load:
    """`lua`: a script of wrk's own, that chooses the path of each request."""
    more = ["-s", str(lua)] if lua else []
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout=20", "--latency", *more, url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise BenchFailed(f"wrk failed: {(done.stdout + done.stderr)[-500:]}")
    return read_wrk(done.stdout)


def cpu_us(cgroup: Path) -> int:
    """Of all that ever ran in it, cgroups beneath included (cgroup-v2.rst, cpu.stat)."""
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("usage_usec"))


def busy_us() -> float:
    """Of the whole machine, all that is not idle, stolen time included (proc_stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * 1e6 / os.sysconf("SC_CLK_TCK")


def children_us() -> float:
    """Of the programs that this one has waited for: wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


def launcher(one: Contestant) -> list[int]:
    """Its processes: all that are in its cgroup while it serves no request."""
    return [int(pid) for file in one.cgroup.rglob("cgroup.procs") for pid in file.read_text().split()]


def processes_us(pids: list[int]) -> dict[int, float]:
    """Of each of these processes that is still there, all threads (sched-stats.rst: nanoseconds on a processor)."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            tasks = Path(f"/proc/{pid}/task").iterdir()
            found[pid] = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000
    return found


def pss_kib(pids: list[int]) -> int:
    """Memory of these processes, each page by its share; of processes that are gone by now nothing."""
    return sum(map(_pss, pids))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def sample(one: Contestant, front: Front, script: str, connections: int, number: int, seconds: int,
           lua: Path | None = None) -> Sample:  # fmt: skip
    before, own_before, front_before = cpu_us(one.cgroup), processes_us(launcher(one)), cpu_us(front.cgroup)
    all_before, wrk_before, began = busy_us(), children_us(), time.monotonic()
    try:
        load = wrk(one.url(script), connections, seconds, lua)
    except BenchFailed as error:
        raise BenchFailed(
            f"{one.name}, {script}, {connections} connections: {error}; it said:\n{one.said()}"
        ) from error
    there = (time.monotonic() - began) * 1e6 * len(os.sched_getaffinity(0))
    known = cpu_us(one.cgroup) - before + cpu_us(front.cgroup) - front_before + children_us() - wrk_before
    foreign = max(0.0, busy_us() - all_before - known) / there
    own_after = processes_us(list(own_before))  # what has ended since was a script, or is not counted as the launcher's
    own = sum(own_after[pid] - own_before[pid] for pid in own_after) / load.requests
    both = (cpu_us(one.cgroup) - before) / load.requests
    nginx = (cpu_us(front.cgroup) - front_before) / load.requests
    seen = (load.requests, load.rate, load.p50, load.p99)
    costs = (own, both - own, 0.0 if one.kind == "direct" else nginx)
    return Sample(one.name, script, connections, number, *seen, *costs, pss_kib(list(own_after)), foreign)
