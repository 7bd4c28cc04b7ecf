"""A launch, in a cgroup leaf and behind a guard: the same promises, kept for real processes."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.context import Context
from selcgi.errors import ContextLost, LaunchFailed
from selcgi.plan import Account, Limits, Plan
from tests.fakes import FakeLabels
from tests.launch.conftest import CONTEXT, Bench, Outcome, complete, conclude, wait
from tests.stack import wait_until


def test_script_runs_in_its_folder_with_the_planned_environment(bench: Bench) -> None:
    outcome = complete(bench.launcher(), bench.plan("pwd; echo $0; env | sort; echo oops >&2; exit 3"))
    lines = outcome.stdout.decode().splitlines()
    assert lines[:2] == [str(bench.folder), f"{bench.folder}/script.cgi"]
    assert {line.split("=")[0] for line in lines[2:]} <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "SELCGI_TEST"}
    assert outcome.stderr == b"oops\n"
    assert outcome.exit is not None
    assert (outcome.exit.code, outcome.exit.signal) == (3, None)
    assert outcome.error is None


def test_launcher_stays_in_its_own_folder(bench: Bench) -> None:
    before = Path.cwd()
    complete(bench.launcher(), bench.plan("exit 0"))
    assert Path.cwd() == before


def test_body_reaches_stdin_and_ends(bench: Bench) -> None:
    running = bench.launcher().launch(replace(bench.plan("exec cat"), empty_body=False))
    outcome = Outcome()
    assert os.write(running.stdin, b"a body") == 6
    os.close(running.stdin)
    running.stdin = -1
    wait(running, lambda: running.exit is not None, outcome)
    conclude(running, outcome)
    assert outcome.stdout == b"a body"


def test_empty_body_is_the_null_device(bench: Bench) -> None:
    outcome = complete(bench.launcher(), bench.plan("readlink /proc/$$/fd/0"))
    assert outcome.stdout == b"/dev/null\n"


def test_our_ends_do_not_block(bench: Bench) -> None:
    running = bench.launcher().launch(replace(bench.plan("exec sleep 100"), empty_body=False))
    try:
        assert not any(os.get_blocking(each) for each in (running.stdin, running.stdout, running.stderr))
    finally:
        conclude(running, Outcome())


STATE = r"""
import os
print(*os.listdir("/proc/self/fd"), flush=True)
os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""


def test_script_inherits_three_descriptors_and_no_signal_state(bench: Bench) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outcome = complete(bench.launcher(), bench.plan(STATE, interpreter="/usr/bin/python3"))
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert outcome.stdout.startswith(b"0 1 2 3\n")  # 3 is the listing's own
    assert b"SigBlk:\t0000000000000000" in outcome.stdout
    ignored = next(line.split()[1] for line in outcome.stdout.splitlines() if line.startswith(b"SigIgn"))
    assert int(ignored, 16) & (1 << signal.SIGHUP - 1) == 0


def test_script_leads_its_own_session(bench: Bench) -> None:
    outcome = complete(bench.launcher(), bench.plan("exec cut -d' ' -f1,5,6 /proc/self/stat"))
    pid, group, session = outcome.stdout.split()
    assert pid == group == session


def test_binary_is_executed_by_descriptor(bench: Bench, probe: Path) -> None:
    copy = bench.folder / "program"
    copy.write_bytes(probe.read_bytes())
    copy.chmod(0o755)
    plan = bench.plan_of(copy)
    (bench.folder / "other").write_text("#!/bin/sh\necho the wrong one\n")
    (bench.folder / "other").rename(copy)
    assert complete(bench.launcher(), plan).stdout == os.fsencode(copy)


def test_end_by_signal_is_told(bench: Bench) -> None:
    outcome = complete(bench.launcher(), bench.plan("kill -USR1 $$"))
    assert outcome.exit is not None
    assert (outcome.exit.code, outcome.exit.signal) == (None, signal.SIGUSR1)


def test_usage_is_told(bench: Bench) -> None:
    outcome = complete(bench.launcher(), bench.plan("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
    assert outcome.exit is not None
    assert outcome.exit.cpu_seconds > 0
    assert outcome.exit.maxrss_bytes > 1 << 16


def replaced(bench: Bench) -> Plan:
    plan = bench.plan("echo one")
    (bench.folder / "new").write_text("#!/bin/sh\necho two\n")
    (bench.folder / "new").chmod(0o755)
    (bench.folder / "new").rename(bench.folder / "script.cgi")
    return plan


def rewritten(bench: Bench) -> Plan:
    plan = bench.plan("echo one")
    stamp = plan.script.stamp
    return replace(plan, script=replace(plan.script, stamp=(*stamp[:2], stamp[2] - 1)))


def removed(bench: Bench) -> Plan:
    plan = bench.plan("echo one")
    (bench.folder / "script.cgi").unlink()
    return plan


def not_executable(bench: Bench) -> Plan:
    path = bench.folder / "plain.cgi"
    path.write_text("#!/bin/sh\necho one\n")
    path.chmod(0o644)
    return bench.plan_of(path, "/bin/sh")


def too_long(bench: Bench) -> Plan:
    plan = bench.plan("echo one")
    return replace(plan, environ={b"LONG": b"x" * (1 << 22)})


@pytest.mark.parametrize(
    ("make", "step", "words"),
    [
        (lambda bench: bench.plan("", interpreter="/no/such/program"), "exec", "/no/such/program does not exist"),
        (lambda bench: bench.plan("neither\n", interpreter=""), "exec", "neither a #! line nor a binary format"),
        (not_executable, "exec", "is not executable"),
        (too_long, "exec", "Argument list too long"),
        (replaced, "check_script", "was changed"),
        (rewritten, "check_script", "was changed"),
        (removed, "check_script", "was changed"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(), Limits(open_files=64)], ids=["vfork", "fork"])
def test_failed_step_is_named(
    bench: Bench, make: Callable[[Bench], Plan], step: str, words: str, limits: Limits
) -> None:
    outcome = complete(bench.launcher(), replace(make(bench), limits=limits))
    assert isinstance(outcome.error, LaunchFailed)
    assert outcome.error.step == step
    assert words in outcome.error.reason
    assert outcome.stdout == b""


def test_a_refused_context_runs_nothing(bench: Bench) -> None:
    labels = FakeLabels(refuses=frozenset({str(CONTEXT)}))
    outcome = complete(bench.launcher(labels), bench.plan("touch ran"))
    assert isinstance(outcome.error, LaunchFailed)
    assert outcome.error.step == "set_exec_context"
    assert not (bench.folder / "ran").exists()


@pytest.mark.parametrize("limits", [Limits(), Limits(open_files=64)], ids=["vfork", "fork"])
def test_a_process_in_another_context_is_killed(bench: Bench, limits: Limits) -> None:
    labels = FakeLabels(comes_up_as=Context("system_u", "system_r", "selcgi_t", "s0"))
    plan = replace(bench.plan("setsid sleep 1000 & exec sleep 1000"), limits=limits)
    outcome = complete(bench.launcher(labels), plan)
    assert isinstance(outcome.error, ContextLost)
    assert outcome.exit is None
    wait_until("the end of what was killed", lambda: not bench.alive())


def test_launch_goes_on_after_a_failure(bench: Bench) -> None:
    launcher = bench.launcher()
    assert complete(launcher, bench.plan("", interpreter="/no/such/program")).error is not None
    for _ in range(3):
        assert complete(launcher, bench.plan("echo fine")).stdout == b"fine\n"


TREES = {
    "background": "sleep 1000 &",
    "own session": "setsid sleep 1000 &",
    "double fork": "(setsid sh -c 'sleep 1000 & sleep 1000 &' &) &",
    "closed streams": "setsid sh -c 'exec <&- >&- 2>&-; sleep 1000' &",
    "deaf": "trap '' TERM HUP INT; sleep 1000 & sleep 1000 &",
    "many": "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 1000 & sleep 1000' &); done",
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("tail", ["echo ready; exec sleep 1000", "echo ready"], ids=["running", "exited"])
def test_every_descendant_is_gone_after_kill(bench: Bench, tree: str, tail: str) -> None:
    running = bench.launcher().launch(bench.plan(f"{tree}\n{tail}"))
    outcome = Outcome()
    wait(running, lambda: b"ready" in outcome.stdout, outcome)
    if tail == "echo ready":
        wait(running, lambda: running.exit is not None, outcome)
    assert not running.gone
    conclude(running, outcome)
    assert bench.alive() == []
    assert outcome.error is None


def test_what_forks_all_the_time_is_gone_after_kill(bench: Bench) -> None:
    text = "import os\nprint('ready', flush=True)\nwhile True:\n    if os.fork(): os._exit(0)\n"
    running = bench.launcher().launch(bench.plan(text, interpreter="/usr/bin/python3"))
    outcome = Outcome()
    wait(running, lambda: b"ready" in outcome.stdout and running.exit is not None, outcome)
    conclude(running, outcome)
    assert bench.alive() == []


def test_what_forks_into_a_new_session_each_time_is_gone_after_kill(bench: Bench, probe: Path) -> None:
    running = bench.launcher().launch(bench.plan(f"exec {probe} sessions"))
    outcome = Outcome()
    wait(running, lambda: b"ready" in outcome.stdout and running.exit is not None, outcome)
    conclude(running, outcome)
    assert bench.alive() == []


def test_terminate_lets_a_script_end_itself(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"))
    outcome = Outcome()
    wait(running, lambda: b"ready" in outcome.stdout, outcome)
    running.terminate()
    wait(running, lambda: running.exit is not None, outcome)
    running.terminate()  # late, so it does nothing
    conclude(running, outcome)
    assert outcome.exit is not None
    assert outcome.exit.code == 7


def test_a_request_that_leaves_nothing_is_gone_without_a_kill(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("echo done"))
    outcome = Outcome()
    wait(running, lambda: running.gone, outcome)
    conclude(running, outcome)
    assert outcome.stdout == b"done\n"


def test_confirmed_before_the_exit_is_told(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("exit 0"))
    outcome = Outcome()
    wait(running, lambda: running.exit is not None, outcome)
    assert running.confirmed
    assert running.pid > 0
    conclude(running, outcome)


def test_limits_are_hard(bench: Bench) -> None:
    limits = Limits(memory_bytes=1 << 30, cpu_seconds=5, open_files=50, file_bytes=1 << 20)
    plan = bench.plan("exec cat /proc/self/limits")
    found = complete(bench.launcher(), replace(plan, limits=limits)).stdout.decode()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in found.splitlines()}
    if bench.leaves is None:  # a leaf may hold it for all together: test_limits.py
        assert rows["Max address space"] == [str(1 << 30)] * 2
    assert rows["Max cpu time"] == ["5", "6"]
    assert rows["Max open files"] == ["50", "50"]
    assert rows["Max file size"] == [str(1 << 20)] * 2


def test_no_script_leaves_a_core_file(bench: Bench) -> None:
    found = complete(bench.launcher(), bench.plan("exec grep core /proc/self/limits")).stdout.split()
    assert found[4:6] == [b"1", b"1"], "1 is what a core_pattern with a pipe heeds, too"


def test_cpu_limit_ends_a_script(bench: Bench) -> None:
    plan = replace(bench.plan("while :; do :; done"), limits=Limits(cpu_seconds=1))
    outcome = complete(bench.launcher(), plan)
    assert outcome.exit is not None
    assert outcome.exit.signal == signal.SIGXCPU


def test_account_is_switched_in_full(bench: Bench, probe: Path) -> None:
    who = Account("nobody", 65534, 65533, (65532, 65531), "/nonexistent")
    plan = replace(bench.plan_of(probe), account=who, argv=(b"probe", b"ids"))
    found = complete(bench.launcher(), plan).stdout.split()
    assert found == [b"65534"] * 3 + [b"65533"] * 3 + [b"65531", b"65532"]


def test_exec_context_is_that_of_the_plan_and_then_none(bench: Bench) -> None:
    labels = FakeLabels()
    running = bench.launcher(labels).launch(bench.plan("exit 0"))
    with contextlib.ExitStack() as always:
        always.callback(conclude, running, Outcome())
        assert labels.current is None
        assert labels.set == ([CONTEXT] if bench.leaves else [])  # a guard sets it in itself
