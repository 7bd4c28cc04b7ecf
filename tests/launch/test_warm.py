"""A request and the zygotes that it is lent to. No interpreter is there: each does what the test says."""

import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from selcgi.context import Context
from selcgi.errors import ContextLost, LaunchFailed, ZygoteFailed
from selcgi.launch.streams import make_streams
from selcgi.launch.warm import WarmRunning
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Account, Plan, Warm
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.processes import reap
from selcgi.system.selinux import NoLabels
from selcgi.zygote.birth import Belongings, become
from selcgi.zygote.frames import BORN, encode_report
from tests.launch.conftest import Bench, Outcome, conclude, wait

SOMEBODY = Account("somebody", 61000, 61000, (), "/")
Way = Callable[[Belongings], object]


class Lent:
    """The zygotes of a worker, and each of them: one request after the other goes one of the ways."""

    def __init__(self, leaves: Leaves, ways: list[Way]) -> None:
        self.labels, self.leaves = NoLabels(), leaves
        self.pid = 4_000_000
        self.without: list[str] = []  # why
        self._ways = ways

    def get(self, plan: Plan) -> "Lent":  # noqa: ARG002
        return self

    def lend(self, zygote: "Lent", descriptors: tuple[int, ...]) -> float:  # noqa: ARG002
        own = Belongings(*map(os.dup, descriptors))
        self._ways.pop(0)(own)
        for descriptor in filter(lambda each: each >= 0, own):
            os.close(descriptor)
        return 0.0

    def answered(self, asked: float) -> None: ...
    def spared(self, asked: float) -> None: ...
    def forked(self) -> None: ...
    def retried(self) -> None: ...

    def fell_back(self, plan: Plan, error: ZygoteFailed) -> None:  # noqa: ARG002
        self.without.append(error.reason)


def end(_: Belongings) -> None:
    """Without a word."""


def talk_nonsense(own: Belongings) -> None:
    """And not end: the test's own end of the channel stays open meanwhile."""
    os.write(own.channel, b"nonsense\n")


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with ExitStack() as held:
        plan = Bench(None, tmp_path, held).plan("echo from a fresh program")
        yield replace(plan, context=None, warm=Warm(fallback=True))


def launch(plan: Plan, lent: Lent) -> WarmRunning:
    leaf, _ = lent.leaves.lease_for(plan.limits, apart=True)
    return WarmRunning(plan, make_streams(plan.empty_body, opened_here=True), cast(Zygotes, lent), leaf)


def awake(running: WarmRunning) -> bool:
    return bool(select.select([running.wake], [], [], 5)[0])


def test_a_zygote_that_has_ended_is_noticed_whoever_hears_of_it(plan: Plan, pool: Leaves) -> None:
    """Who asks whose process a pid is has all requests look at what their zygotes say."""
    lent = Lent(pool, [end, end])
    running = launch(plan, lent)
    assert 1 not in pool.scripts
    assert awake(running)
    running.poll()
    assert lent._ways == [], "it was asked for a second time"
    assert running.waited_for(lent.pid, time.time() + 5), "and still waits"
    assert not running.waited_for(lent.pid + 1, time.time())
    conclude(running, Outcome())


def test_a_report_that_is_none_is_noticed_whoever_hears_of_it(plan: Plan, pool: Leaves) -> None:
    kept: list[int] = []

    def keep(own: Belongings) -> None:
        kept.append(os.dup(own.channel))
        talk_nonsense(own)

    running = launch(plan, Lent(pool, [keep]))
    assert 1 not in pool.scripts
    assert awake(running)
    with pytest.raises(LaunchFailed, match="no report"):
        running.poll()
    conclude(running, Outcome())
    os.close(kept[0])


@pytest.mark.parametrize("fallback", [True, False])
def test_after_two_that_have_ended_there_is_a_fresh_program(plan: Plan, pool: Leaves, fallback: bool) -> None:
    lent, outcome = Lent(pool, [end, end]), Outcome()
    running = launch(replace(plan, warm=Warm(fallback=fallback)), lent)
    wait(running, lambda: running.exit is not None or outcome.error is not None, outcome)
    conclude(running, outcome)
    if fallback:
        assert (outcome.stdout, outcome.error, running.warm) == (b"from a fresh program\n", None, False)
        assert lent.without == ["two warm interpreters ended before they took the request"]
    else:
        assert isinstance(outcome.error, ZygoteFailed)
        assert (outcome.stdout, lent.without) == (b"", [])


def test_the_end_of_its_process_wakes_at_once(plan: Plan, pool: Leaves, tmp_path: Path) -> None:
    """The kernel tells of a cgroup only so often; what is watched beside it is in proc_pid_fdinfo(5)."""
    with ExitStack() as held:
        waits = Bench(None, tmp_path, held).plan("exec sleep 60")
        running, outcome = launch(replace(waits, context=None, warm=plan.warm), Lent(pool, [end, end])), Outcome()
        wait(running, lambda: running._process is not None, outcome)
        assert running._process is not None
        watched = Path(f"/proc/self/fdinfo/{running.wake}").read_text()
        assert re.search(rf"^tfd: +{running._process._pidfd} ", watched, re.MULTILINE)
        wait(running, lambda: not select.select([running.wake], [], [], 0)[0], outcome)  # while it goes on
        assert running.exit is None
        running.kill()
        conclude(running, outcome)


def test_a_child_that_can_not_be_put_into_its_cgroup_ends(
    plan: Plan, pool: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was born elsewhere waits for its job meanwhile, which must not keep the worker waiting for its end."""
    born: list[int] = []
    told, tell = os.pipe()

    def bear(own: Belongings) -> None:
        born.append(os.fork())
        if born[0] == 0:
            signal.alarm(5)  # so that a test that fails ends
            os.write(tell, b"given up" if become(own, None) is None else b"a job")
            os._exit(0)

    def refuse(_leaf: Leaf, _pid: int) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Leaf, "take", refuse)
    monkeypatch.setattr("selcgi.zygote.birth.close_all_but", lambda _: None)  # the pipe is the test's
    running, outcome = launch(replace(plan, account=SOMEBODY), Lent(pool, [bear])), Outcome()
    wait(running, lambda: outcome.error is not None, outcome)
    assert "Device or resource busy" in str(outcome.error)
    os.close(tell)
    assert os.read(told, 99) == b"given up"
    os.close(told)
    conclude(running, outcome)
    with suppress(ChildProcessError):  # it was waited for
        os.waitpid(born[0], 0)


def test_a_child_that_somebody_else_has_reaped_is_told(
    plan: Plan, pool: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bear(own: Belongings) -> None:
        if (pid := os.fork()) == 0:
            os.write(own.channel, encode_report(BORN))
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def reap_first(_leaf: Leaf, pid: int) -> None:
        reap(pid)
        raise OSError(3, "No such process")

    monkeypatch.setattr(Leaf, "take", reap_first)
    running = launch(replace(plan, account=SOMEBODY), Lent(pool, [bear]))
    with pytest.raises(LaunchFailed, match="No such process"):
        running.poll()
    conclude(running, Outcome())


def test_each_request_reads_the_script_from_its_beginning(plan: Plan, pool: Leaves) -> None:
    """Whoever else has it open: as one that is kept open is handed to many at once."""
    read: list[bytes] = []
    ways: list[Way] = [lambda own: read.append(os.read(own.script, 9)) for _ in range(2)]
    lent = Lent(pool, ways)
    runnings = [launch(plan, lent) for _ in range(2)]
    assert read == [b"#!/bin/sh"] * 2
    for running in runnings:
        conclude(running, Outcome())


class Strange(NoLabels):
    """The process that is to be looked at is in another context, and if need be has ended by then."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended

    def confirm(self, pid: int, context: Context | None) -> None:
        if self.ended:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        raise ContextLost("confirm", f"process {pid} is not in {context}")


@pytest.mark.parametrize(
    ("ended", "reason"),
    [(True, "ended with status 3 before it was in its context"), (False, "process [0-9]+ is not in None")],
)
def test_a_child_that_has_ended_has_lost_no_context(plan: Plan, pool: Leaves, ended: bool, reason: str) -> None:
    def bear(own: Belongings) -> None:
        if os.fork() == 0:
            os.write(own.channel, encode_report(BORN))
            os.read(own.channel, 65536)
            os.closerange(3, 4096)
            if not ended:
                signal.pause()
            os._exit(3)

    lent, outcome = Lent(pool, [bear]), Outcome()
    lent.labels = Strange(ended=ended)
    began = time.time()
    running = launch(replace(plan, account=SOMEBODY), lent)  # so that the child is put into the leaf, and ends with it
    wait(running, lambda: outcome.error is not None, outcome)
    assert re.search(reason, str(outcome.error))
    assert isinstance(outcome.error, ContextLost) is not ended
    assert (running.waited_for(lent.pid, began), running.waited_for(lent.pid, time.time() + 1)) == (True, False)
    conclude(running, outcome)
