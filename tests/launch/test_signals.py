"""A pid is signalled as long as its process can't have been replaced by another: until it is reaped (kill(2))."""

import os
import signal

import pytest

from tests.launch.conftest import Bench, Outcome, conclude, wait


def test_no_signal_goes_to_a_pid_that_was_reaped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is given up just when its script has ended: the number may be another's by now."""
    running = bench.launcher().launch(bench.plan("exit 0"))
    outcome = Outcome()
    wait(running, lambda: running.exit is not None, outcome)
    sent: list[tuple[int, signal.Signals]] = []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, lambda pid, signum: sent.append((pid, signum)))
    running.terminate()
    running.kill()
    monkeypatch.undo()
    assert running.pid not in [pid for pid, _ in sent]
    conclude(running, outcome)


def test_a_script_that_runs_gets_it(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("exec sleep 100"))
    outcome = Outcome()
    wait(running, lambda: running.pid != 0, outcome)
    running.terminate()
    wait(running, lambda: running.exit is not None, outcome)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGTERM
    conclude(running, outcome)
