"""Each limit of a rule, held against a program that goes beyond it at once: by a cgroup's controllers, or each process.

The machine decides which: with cgroup v2 and its controllers, as in the guest, a leaf holds what can be held for all
processes together; a guard, and a leaf without controllers, as where cgroup v1 has them, leave it to setrlimit(2).
"""

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.errors import LaunchFailed
from selcgi.launch import spawn
from selcgi.launch.child import Changes, fork_and_exec
from selcgi.launch.leafed import LeafRunning
from selcgi.plan import Account, Exit, Limits
from selcgi.system.ceilings import met
from selcgi.system.posixspawn import Image
from tests.launch import greedy
from tests.launch.conftest import Bench, Outcome, complete, conclude, take, wait
from tests.stack import wait_until

MIB = 1 << 20
_UIDS = itertools.count(100_000 + os.getpid() * 100)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return greedy.build(tmp_path_factory.mktemp("greedy"))


@pytest.fixture
def together(bench: Bench) -> bool:
    """Whether limits hold for all processes of a request together."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    point = next(Path(fields[1]) for fields in mounts if fields[2] == "cgroup2")
    offered = (point / "cgroup.controllers").read_text().split()
    return bench.leaves is not None and {"memory", "pids", "cpu"} <= set(offered)


def alone() -> Account:
    """A user of whom there is no process, not even one that is about to end."""
    return Account("alone", next(_UIDS), 61000, (), "/")


def tried(
    bench: Bench, program: Path, word: str, limits: Limits, account: Account | None = None
) -> tuple[Outcome, str]:
    """What became of the program, and the limit that its cgroup has seen met."""
    plan = replace(bench.plan_of(program), argv=(b"greedy", word.encode()), limits=limits, account=account)
    running = bench.launcher().launch(plan)
    outcome = Outcome()
    try:
        wait(running, lambda: running.exit is not None, outcome)
        take(running, outcome)
        return outcome, running.met
    finally:
        conclude(running, outcome)


def ended_by(outcome: Outcome) -> int | None:
    assert isinstance(outcome.exit, Exit)
    return outcome.exit.signal


def test_memory(bench: Bench, program: Path, together: bool) -> None:
    outcome, seen = tried(bench, program, "memory", Limits(memory_bytes=32 * MIB))
    if together:
        assert (ended_by(outcome), seen, outcome.stdout) == (signal.SIGKILL, "memory", b"")
    else:
        assert (ended_by(outcome), seen, outcome.stdout) == (None, "", b"0\n")
    outcome, seen = tried(bench, program, "memory", Limits(memory_bytes=320 * MIB))
    assert (ended_by(outcome), seen, outcome.stdout) == (None, "", b"256\n")


def test_processes(bench: Bench, program: Path, together: bool) -> None:
    """The fifth is refused, and none of them is left at the end (fixture bench)."""
    outcome, seen = tried(bench, program, "processes", Limits(processes=5), alone())
    assert (outcome.stdout, seen) == (b"4\n", "processes" if together else "")


def test_processes_of_selcgis_own_user(bench: Bench, program: Path, together: bool) -> None:
    """RLIMIT_NPROC does not bind root, as whom these tests run; a cgroup does."""
    outcome, _ = tried(bench, program, "processes", Limits(processes=5))
    assert outcome.stdout == (b"4\n" if together else b"64\n")


def test_files(bench: Bench, program: Path) -> None:
    outcome, _ = tried(bench, program, "fds", Limits(open_files=10))
    assert outcome.stdout == b"7\n"  # and 0 to 2


def test_a_long_file(bench: Bench, program: Path) -> None:
    big = bench.folder / "big"
    plan = replace(bench.plan(f"exec {program} long"), limits=Limits(file_bytes=MIB))
    outcome = complete(bench.launcher(), plan)
    assert (ended_by(outcome), big.stat().st_size) == (signal.SIGXFSZ, MIB)


def test_nice(bench: Bench, program: Path) -> None:
    assert tried(bench, program, "nice", Limits())[0].stdout == b"0\n"
    assert tried(bench, program, "nice", Limits(nice=7))[0].stdout == b"7\n"
    assert tried(bench, program, "nice", Limits(nice=7), alone())[0].stdout == b"7\n"


def test_processor_time(bench: Bench, program: Path) -> None:
    outcome, _ = tried(bench, program, "spin", Limits(cpu_seconds=1))
    assert ended_by(outcome) == signal.SIGXCPU


def test_processors_at_once(bench: Bench, program: Path, together: bool) -> None:
    plan = replace(bench.plan_of(program), argv=(b"greedy", b"spin"), limits=Limits(cpus=0.1))
    if not together:
        outcome = complete(bench.launcher(), plan)
        assert isinstance(outcome.error, LaunchFailed)
        assert (outcome.error.step, outcome.exit) == ("set_limits", None)
        assert "cpus= in the rule needs cgroup v2 with the cpu controller" in outcome.error.reason
        return
    running = bench.launcher().launch(plan)
    outcome = Outcome()
    try:
        assert isinstance(running, LeafRunning)
        leaf = Path(f"/proc/self/fd/{running._leaf.procs}").readlink().parent
        assert (leaf / "cpu.max").read_text() == "10000 100000\n"
        wait_until("a pause", lambda: "nr_throttled 0" not in (leaf / "cpu.stat").read_text())
    finally:
        conclude(running, outcome)


def test_the_worker_does_not_wait_for_the_pauses_of_its_child(
    bench: Bench, program: Path, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the exec, for which it waits, the child is as quick as any, in a leaf that was used with the limit, too."""
    if not together:
        return
    before: list[str] = []

    def looked(image: Image, changes: Changes) -> int:
        leaf = Path(f"/proc/self/fd/{changes.members}").readlink().parent
        before.append((leaf / "cpu.max").read_text())
        return fork_and_exec(image, changes)

    monkeypatch.setattr(spawn, "fork_and_exec", looked)
    launcher = bench.launcher()
    plan = replace(bench.plan_of(program), argv=(b"greedy", b"nice"), limits=Limits(cpus=0.1, nice=1))
    assert [complete(launcher, plan).stdout for _ in range(2)] == [b"1\n"] * 2
    assert before == ["max 100000\n"] * 2


def test_a_limit_of_one_request_is_not_the_next_ones(bench: Bench, program: Path) -> None:
    """A leaf is used again, whether its limit was met or not."""
    tried(bench, program, "nice", Limits(processes=5), alone())
    for limits, most in ((Limits(memory_bytes=64 * MIB), 64), (Limits(processes=5), 4), (Limits(processes=60), 59)):
        outcome, _ = tried(bench, program, "processes", limits, alone())
        assert outcome.stdout == f"{most}\n".encode()
    assert tried(bench, program, "memory", Limits(processes=60), alone())[0].stdout == b"256\n"
    assert tried(bench, program, "processes", Limits())[0].stdout == b"64\n"


def test_a_fork_only_where_a_process_must_limit_itself(
    bench: Bench, program: Path, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where none can be born in a leaf: the worker itself must not enter one with ceilings. A guard's is its own."""
    forks: list[Image] = []

    def seen(image: Image, changes: Changes) -> int:
        forks.append(image)
        return fork_and_exec(image, changes)

    monkeypatch.setattr(spawn, "fork_and_exec", seen)
    outcome, _ = tried(bench, program, "nice", Limits(memory_bytes=64 * MIB, processes=5))
    born = together and bench.leaves is not None and bench.leaves._newborn
    assert (outcome.stdout, len(forks)) == (b"0\n", 0 if born or bench.leaves is None else 1)


def test_nothing_is_met_without_a_controller(tmp_path: Path) -> None:
    assert met(tmp_path) == ""
