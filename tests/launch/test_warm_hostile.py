"""Children, and what says that it is one, as code that a zygote has loaded may make them: none keeps its worker."""

import array
import os
import signal
import socket
from dataclasses import replace

import pytest

from selcgi.context import Context
from selcgi.errors import LaunchFailed, LaunchStarved
from selcgi.launch.warm import WarmRunning
from selcgi.plan import Plan
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.processes import look_at, open_descriptors, reap
from selcgi.system.selinux import NoLabels
from selcgi.zygote.birth import Belongings
from selcgi.zygote.frames import BORN, STARVED, STUCK, encode_report
from tests.launch.conftest import Outcome, conclude, wait
from tests.launch.test_warm import SOMEBODY, Lent, awake, launch, plan

__all__ = ["plan"]


class Held:
    """A zygote's end of the channel, which it keeps."""

    def __init__(self) -> None:
        self.channel = -1

    def __call__(self, own: Belongings) -> None:
        self.channel = os.dup(own.channel)


def fails(running: WarmRunning) -> Outcome:
    outcome = Outcome()
    wait(running, lambda: outcome.error is not None, outcome)
    return outcome


def be_born(own: Belongings, *, times: int = 1) -> int:
    """And be there until it is killed, or for some seconds, so that a test that fails ends."""
    if (pid := os.fork()) == 0:
        signal.alarm(5)
        os.write(own.channel, times * encode_report(BORN))
        signal.pause()
    return pid


def test_a_second_birth_is_one_too_many(plan: Plan, pool: Leaves) -> None:
    running = launch(plan, Lent(pool, [lambda own: be_born(own, times=2)]))
    outcome = fails(running)
    assert "reported what is no report, or a second time" in str(outcome.error)
    conclude(running, outcome)


def test_what_comes_in_pieces_is_read_in_turns(plan: Plan, pool: Leaves) -> None:
    """Others have theirs meanwhile; and there may be no end of it."""
    held = Held()
    running, heard = launch(plan, Lent(pool, [held])), 0
    for user in (0, 1) * 20:  # by another id, so that they are not read as one
        if os.fork() == 0:
            os.setresuid(user, user, user)
            os.write(held.channel, b"[")
            os._exit(0)
        os.wait()
    while awake(running) and heard < 40:
        running.poll()
        assert running._channel is not None
        before, heard = heard, len(running._channel._heard)
        assert before < heard <= before + 8
    os.write(held.channel, b"[" * 40_000)
    outcome = fails(running)
    assert "without end" in str(outcome.error)
    os.close(held.channel)
    conclude(running, outcome)


def test_descriptors_that_come_with_a_report_stay_away(plan: Plan, pool: Leaves) -> None:
    def send(own: Belongings) -> None:
        with socket.socket(fileno=os.dup(own.channel)) as channel:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [own.channel] * 200))
            channel.sendmsg([encode_report(STUCK, "zygote", "on purpose", "")], [rights])

    before = open_descriptors()
    running = launch(plan, Lent(pool, [send]))
    outcome = fails(running)
    conclude(running, outcome)
    assert (str(outcome.error), open_descriptors()) == ("on purpose", before)


@pytest.mark.parametrize(("name", "kind"), [(STUCK, LaunchFailed), (STARVED, LaunchStarved)])
def test_what_is_used_up_may_be_there_another_time(
    plan: Plan, pool: Leaves, name: str, kind: type[LaunchFailed]
) -> None:
    def tell(own: Belongings) -> None:
        os.write(own.channel, encode_report(name, "zygote", "on purpose", "do that"))

    running = launch(plan, Lent(pool, [tell]))
    outcome = fails(running)
    assert (type(outcome.error), str(outcome.error)) == (kind, "on purpose; do that")
    conclude(running, outcome)


class Looking(NoLabels):
    """Who is looked at is still there, if only to be reaped."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[bool] = []

    def confirm(self, pid: int, context: Context | None) -> None:  # noqa: ARG002
        self.ended.append(look_at(pid) is not None)


@pytest.mark.parametrize("takes", [True, False])
def test_one_that_has_ended_is_looked_at_whoever_has_its_channel(plan: Plan, pool: Leaves, takes: bool) -> None:
    """Nothing of what it has written would be believed else, or all of it unseen."""
    held, lent = Held(), Lent(pool, [])

    def bear(own: Belongings) -> None:
        held(own)
        if os.fork() == 0:
            os.write(own.channel, encode_report(BORN))
            os.read(own.channel, 65536 if takes else 1)
            os._exit(3)

    lent.labels = labels = Looking()
    lent._ways = [bear]
    running, outcome = launch(plan, lent), Outcome()
    wait(running, lambda: running.exit is not None, outcome)
    if takes:
        assert (labels.ended, running.confirmed, outcome.error) == ([True], True, None)
    else:
        assert "ended before it took the request" in str(outcome.error)
    os.close(held.channel)
    conclude(running, outcome)


def test_one_that_ends_once_it_was_looked_at_is_looked_at_again(
    plan: Plan, pool: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is reaped, and nobody could ask any more whether it took its job."""
    held = Held()

    def bear(own: Belongings) -> None:
        held(own)
        if os.fork() == 0:
            os.write(own.channel, encode_report(BORN))
            os._exit(3)

    def look(pid: int) -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        monkeypatch.setattr("selcgi.launch.warm.look_at", look_at)

    monkeypatch.setattr("selcgi.launch.warm.look_at", look)
    running = launch(plan, Lent(pool, [bear]))
    outcome = fails(running)
    assert "ended before it took the request" in str(outcome.error)
    assert not running.confirmed
    conclude(running, outcome)
    os.close(held.channel)


def test_one_that_something_else_has_reaped_is_waited_for_by_nobody(plan: Plan, pool: Leaves) -> None:
    held = Held()

    def bear(own: Belongings) -> None:
        held(own)
        be_born(own)

    running, outcome = launch(plan, Lent(pool, [bear])), Outcome()
    wait(running, lambda: running.pid != 0, outcome)
    os.kill(running.pid, signal.SIGKILL)
    reap(running.pid, wait=True)
    assert fails(running).error is not None
    assert not running.confirmed
    for descriptor in (held.channel, running.stdout, running.stderr):
        os.close(descriptor)
    running.close()


def test_the_last_words_of_one_that_has_ended_are_heard(
    plan: Plan, pool: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said them since the worker has listened."""
    held, (waits, tell) = Held(), os.pipe()

    def bear(own: Belongings) -> None:
        held(own)
        if os.fork() == 0:
            os.write(own.channel, encode_report(BORN))
            os.read(waits, 1)
            os.write(own.channel, encode_report(STUCK, "zygote", "on purpose", ""))
            os._exit(127)

    def look(pid: int) -> os.waitid_result | None:
        os.write(tell, b"x")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return look_at(pid)

    monkeypatch.setattr("selcgi.launch.warm.look_at", look)
    running = launch(plan, Lent(pool, [bear]))
    outcome = fails(running)
    assert (str(outcome.error), running.confirmed) == ("on purpose", False)
    conclude(running, outcome)
    for descriptor in (waits, tell, held.channel):
        os.close(descriptor)


def test_one_that_is_no_child_of_the_worker_is_none_of_the_request(plan: Plan, pool: Leaves) -> None:
    def bear(own: Belongings) -> None:
        if (pid := os.fork()) == 0:
            if os.fork() == 0:
                os.write(own.channel, encode_report(BORN))
                os.read(own.channel, 1)
            os._exit(0)
        os.waitpid(pid, 0)

    running = launch(plan, Lent(pool, [bear]))
    outcome = fails(running)
    assert "which is none of this request" in str(outcome.error)
    assert running.pid == 0
    conclude(running, outcome)


def test_one_that_is_born_elsewhere_ends_with_its_request(plan: Plan, pool: Leaves) -> None:
    running, outcome = launch(plan, Lent(pool, [be_born])), Outcome()
    wait(running, lambda: running.pid != 0, outcome)
    assert not running._leaf.holds(running.pid)
    running.kill()
    wait(running, lambda: running.gone, outcome)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGKILL
    conclude(running, outcome)


def test_one_that_does_not_go_where_it_is_put_keeps_nobody_waiting(
    plan: Plan, pool: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_leaf: Leaf, _pid: int) -> None:
        raise OSError(16, "Device or resource busy")

    born: list[int] = []
    monkeypatch.setattr(Leaf, "take", refuse)
    running = launch(replace(plan, account=SOMEBODY), Lent(pool, [lambda own: born.append(be_born(own))]))
    outcome = fails(running)
    assert "Device or resource busy" in str(outcome.error)
    conclude(running, outcome)
    assert reap(born[0]) is None, "it is still there"
    os.kill(born[0], signal.SIGKILL)
    reap(born[0], wait=True)


@pytest.mark.parametrize(("told", "step"), [("set_limits", "set_limits"), ("client", "zygote"), ("a\nb", "zygote")])
def test_what_is_no_step_of_a_launch_is_not_told_as_one(plan: Plan, pool: Leaves, told: str, step: str) -> None:
    """A client that has gone, say, is no failure that is kept."""

    def tell(own: Belongings) -> None:
        os.write(own.channel, encode_report(STUCK, told, "on purpose", ""))

    running = launch(plan, Lent(pool, [tell]))
    outcome = fails(running)
    assert outcome.error is not None
    assert outcome.error.step == step
    conclude(running, outcome)
