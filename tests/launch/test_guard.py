"""The guard: what it does when its worker, or it itself, comes to an unplanned end."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from selcgi.errors import LaunchFailed
from selcgi.launch.running import Running
from selcgi.system.leaves import Leaves
from selcgi.system.processes import children
from tests.launch.conftest import Bench, Outcome, conclude, wait
from tests.stack import wait_until


@pytest.fixture
def leaves() -> Leaves | None:
    """Overrides the fixture of both ways: guards only."""
    return None


def started(bench: Bench, text: str) -> tuple[Running, Outcome]:
    running = bench.launcher().launch(bench.plan(f"{text}\necho ready\nexec sleep 1000"))
    outcome = Outcome()
    wait(running, lambda: b"ready" in outcome.stdout, outcome)
    return running, outcome


def close_streams(running: Running) -> None:
    os.close(running.stdout)
    os.close(running.stderr)


def until_dead(bench: Bench) -> None:
    """The deadline only keeps a broken guard from hanging the tests."""
    deadline = time.monotonic() + 20
    while bench.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_launch_returns_before_the_guard_has_started_anything(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("exit 0"))
    assert not running.confirmed
    assert running.pid == 0
    conclude(running, Outcome())


def test_guard_is_the_parent_and_its_worker_has_no_other_child(bench: Bench) -> None:
    running, outcome = started(bench, "")
    (guard,) = children()
    with open(f"/proc/{running.pid}/stat", encoding="ascii") as stat:
        assert int(stat.read().rpartition(")")[2].split()[1]) == guard
    conclude(running, outcome)


def test_guard_holds_nothing_of_the_worker(bench: Bench) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            running, outcome = started(bench, "")
        assert ours.recv(1) == b""  # a guard that had kept it would hold it open
        conclude(running, outcome)


def test_two_guards_do_not_hold_each_other(bench: Bench) -> None:
    first, first_outcome = started(bench, "")
    second, second_outcome = started(bench, "")
    conclude(first, first_outcome)
    assert second.exit is None
    conclude(second, second_outcome)


def test_worker_that_closes_ends_the_request(bench: Bench) -> None:
    running, _ = started(bench, "setsid sleep 1000 &")
    (guard,) = children()
    close_streams(running)
    running.close()
    os.waitpid(guard, 0)
    assert bench.alive() == []


def test_worker_that_is_killed_ends_the_request(bench: Bench) -> None:
    told, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        with contextlib.suppress(BaseException):
            kept = started(bench, "setsid sleep 1000 &")  # unreferenced, it would end its guard
            os.write(tell, b"x")
            signal.pause()
            del kept
        os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 1) == b"x"
        wait_until("a process of the request", bench.alive)
    finally:
        os.close(told)
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    until_dead(bench)


def test_what_a_killed_guard_leaves_is_ended_and_is_an_error(bench: Bench) -> None:
    launcher = bench.launcher()
    other, untouched = launcher.launch(bench.plan("echo ready\nexec sleep 1000")), Outcome()
    wait(other, lambda: b"ready" in untouched.stdout, untouched)
    (spared,) = children()
    family = "setsid sh -c 'sleep 1000 & sleep 1000' & (setsid setsid sleep 1000 &)\necho ready\nexec sleep 1000"
    running, outcome = launcher.launch(bench.plan(family)), Outcome()
    wait(running, lambda: b"ready" in outcome.stdout, outcome)
    (guard,) = set(children()) - {spared}
    os.kill(guard, signal.SIGKILL)
    wait(running, lambda: running.gone, outcome)
    assert isinstance(outcome.error, LaunchFailed)
    assert outcome.error.step == "guard"
    assert children() == [spared]
    assert bench.alive() == [other.pid]
    conclude(running, outcome)
    conclude(other, untouched)


def test_a_guard_that_is_killed_after_its_script_has_ended_is_an_error_too(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("sleep 1000 &"))
    outcome = Outcome()
    wait(running, lambda: running.exit is not None, outcome)
    wait_until("its job", bench.alive)  # while it executes sleep, it has no environment to be known by
    os.kill(children()[0], signal.SIGKILL)
    wait(running, lambda: running.gone, outcome)
    assert isinstance(outcome.error, LaunchFailed)
    assert bench.alive() == []
    conclude(running, outcome)


def test_guard_is_deaf_to_the_signals_of_a_terminal(bench: Bench) -> None:
    running, outcome = started(bench, "")
    (guard,) = children()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, signum)
    running.terminate()
    wait(running, lambda: running.exit is not None, outcome)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGTERM
    conclude(running, outcome)


def test_orphans_are_reaped_while_the_script_runs(bench: Bench) -> None:
    running, outcome = started(bench, "for i in 1 2 3; do (sh -c 'exit 0' &); done; echo orphans")
    (guard,) = children()
    deadline = time.monotonic() + 20
    path = f"/proc/{guard}/task/{guard}/children"
    while True:
        with open(path, encoding="ascii") as listed:
            if listed.read().split() == [str(running.pid)]:
                break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    conclude(running, outcome)


def test_kill_before_the_start_is_not_lost(bench: Bench) -> None:
    for _ in range(5):
        running = bench.launcher().launch(bench.plan("exec sleep 1000"))
        conclude(running, Outcome())
        assert bench.alive() == []


def test_an_order_that_comes_too_late_does_not_hide_how_the_script_ended(bench: Bench) -> None:
    """A guard that ends with an order unread resets its socket; its reports are still there."""
    running, outcome = started(bench, "")
    (guard,) = children()
    os.kill(guard, signal.SIGSTOP)
    os.kill(running.pid, signal.SIGUSR1)
    status = Path(f"/proc/{running.pid}/stat")
    wait_until("the end of the script", lambda: status.read_text().rpartition(")")[2].split()[0] == "Z")
    for _ in range(2):  # it takes one of them at a time
        running.terminate()
    os.kill(guard, signal.SIGCONT)
    os.waitid(os.P_PID, guard, os.WEXITED | os.WNOWAIT)
    wait(running, lambda: running.gone, outcome)
    assert (outcome.error, running.exit and running.exit.signal) == (None, signal.SIGUSR1)
    conclude(running, outcome)
