"""The zygotes of a worker, which this process is, and the requests that they serve."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.errors import ContextLost, LaunchFailed, LaunchStarved, ZygoteFailed
from selcgi.launch.cold import Launcher
from selcgi.launch.zygote import Zygote
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Plan, Warm
from selcgi.serve.poller import Poller
from selcgi.settings import EnvironRules, WarmSettings
from selcgi.system.leaves import Leaves
from selcgi.system.processes import children
from selcgi.system.selinux import NoLabels
from tests.launch.conftest import Bench, Outcome, complete, conclude, wait
from tests.stack import wait_until

HELLO = "print('hello')\n"


# A WSGI application that never gets ready, nor ends by itself.
ENDLESS = "import time\ntime.sleep(1000)\n"
# One that is asked already goes on when its zygote is gone.
PATIENT = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.01)
print("patient")
"""


# One that gets ready, and takes no request: what it has loaded keeps it.
DEAF = """
import sys, time
sys.modules["selcgi.zygote.main"].Zygote.serve = lambda self: time.sleep(1000)
application = print
"""
# Likewise, and nobody can send it one.
CLOSED = DEAF.replace("time.sleep(1000)", "(self._control.shutdown(0), time.sleep(1000))")

# One that ends, but for what it has started.
SURVIVED = """
import os, sys, time
def leave(self):
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
sys.modules["selcgi.zygote.main"].Zygote.serve = leave
application = print
"""


class Nobody:
    """The administrator, who does not listen. See launch/zygotes.py, Observer."""

    def changed(self, zygote: Zygote) -> None: ...
    def said(self, zygote: Zygote, line: str) -> None: ...
    def forked(self) -> None: ...
    def retried(self) -> None: ...
    def fell_back(self, script: str, error: ZygoteFailed) -> None: ...


class Site:
    """A launcher with zygotes, and scripts for it."""

    def __init__(self, pool: Leaves, folder: Path, settings: WarmSettings) -> None:
        self.poller, self.held = Poller(), ExitStack()
        self.zygotes = Zygotes(NoLabels(), pool, settings, EnvironRules())
        self.zygotes.begin(self.poller, Nobody())
        self.launcher = Launcher(NoLabels(), pool, self.zygotes)
        self.folder = folder

    def plan(self, name: str, text: str, *, interpreter: str = "/usr/bin/python3", warm: Warm | None = None) -> Plan:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        plan = Bench(None, folder, self.held).plan(text, interpreter=interpreter)
        return replace(plan, context=None, warm=warm)

    def close(self) -> None:
        self.zygotes.close()
        self.poller.close()
        self.held.close()


@pytest.fixture
def site(pool: Leaves, tmp_path: Path) -> Iterator[Site]:
    made = Site(pool, tmp_path, WarmSettings(zygotes=2))
    yield made
    made.close()


def leave_something_behind(site: Site) -> None:
    """In several leaves at once, which are then used again."""
    plan = site.plan("behind", "sleep 1000 >/dev/null 2>&1 &", interpreter="/bin/sh")
    for running in [site.launcher.launch(plan) for _ in range(3)]:
        conclude(running, Outcome())


def test_where_a_kill_was_nothing_more_is_born(site: Site) -> None:
    """Neither a zygote, nor what a zygote makes: the kernel would kill that."""
    for name in ("one", "two"):
        leave_something_behind(site)
        outcome = complete(site.launcher, site.plan(name, HELLO, warm=Warm()))
        assert (outcome.stdout, outcome.error) == (b"hello\n", None)


def ask_for(site: Site, *names: str) -> list[Zygote]:
    """Applications that no request has asked for before: they come in place of others."""
    return [site.zygotes.get(site.plan(name, ENDLESS, warm=Warm("application"))) for name in names]


def test_no_more_leave_than_may_be_there(site: Site) -> None:
    zygotes = ask_for(site, "1", "2", "3", "4")
    assert [one.state for one in zygotes] == ["retiring"] * 2 + ["starting"] * 2
    zygotes += ask_for(site, "5", "6")
    assert [one.state for one in zygotes] == ["ended"] * 2 + ["retiring"] * 2 + ["starting"] * 2

    def swept() -> bool:
        site.zygotes.sweep()
        return len(children()) == 4

    wait_until("those that were killed are buried", swept)


def test_a_request_goes_on_when_its_zygote_is_killed(site: Site) -> None:
    running, outcome = site.launcher.launch(site.plan("patient", PATIENT, warm=Warm())), Outcome()
    wait(running, lambda: running.confirmed, outcome)
    (zygote,) = site.zygotes._there.values()
    os.kill(zygote.pid, signal.SIGSTOP)  # so that it can't end by itself
    ask_for(site, "1", "2", "3", "4")
    assert zygote.state == "ended"
    (site.folder / "patient" / "go").touch()
    wait(running, lambda: running.exit is not None, outcome)
    conclude(running, outcome)
    assert (outcome.stdout, outcome.error) == (b"patient\n", None)


FAILURES: list[tuple[Exception, type[LaunchFailed], str, str]] = [
    (LaunchFailed("set_exec_context", "on purpose", "do that"), ZygoteFailed, "set_exec_context", "do that"),
    (LaunchStarved("exec", "on purpose", "do that"), ZygoteFailed, "exec", "do that"),
    (OSError(5, "on purpose"), ZygoteFailed, "zygote", ""),
    (ContextLost("confirm", "on purpose", "do that"), ContextLost, "confirm", "do that"),
]


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize(("error", "meant", "step", "fix"), FAILURES, ids=lambda one: getattr(one, "__name__", ""))
def test_the_first_request_is_answered_as_the_next_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch,
    error: Exception, meant: type[LaunchFailed], step: str, fix: str, fallback: bool,
) -> None:  # fmt: skip
    """By a fresh program where one may stand in, but not for a zygote that came up in another context."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Zygote, "start", fail)
    plan = site.plan("hello", HELLO, warm=Warm(fallback=fallback))
    for outcome in (complete(site.launcher, plan), complete(site.launcher, plan)):
        if fallback and meant is ZygoteFailed:
            assert (outcome.stdout, outcome.error) == (b"hello\n", None)
            continue
        assert type(outcome.error) is meant
        assert (outcome.error.step, outcome.error.fix, outcome.stdout) == (step, fix, b"")
        assert "on purpose" in outcome.error.reason


def test_who_comes_too_late_is_told_which_start_has_failed(site: Site) -> None:
    plan = site.plan("fails", "1/0\n", warm=Warm("application"))
    first, second = complete(site.launcher, plan).error, complete(site.launcher, plan).error
    assert isinstance(first, ZygoteFailed)
    assert isinstance(second, ZygoteFailed)
    assert first.pid == second.pid != 0
    assert "ZeroDivisionError" in second.reason


def heard(site: Site, zygote: Zygote) -> None:
    def told() -> bool:
        site.poller.dispatch()
        return zygote.state == "ready"

    wait_until("it is ready", told)


def test_one_that_takes_no_request_is_ended_and_its_requests_come_to_another(site: Site) -> None:
    plan = site.plan("deaf", DEAF, warm=Warm("application"))
    running, outcome = site.launcher.launch(plan), Outcome()
    (zygote,) = site.zygotes._there.values()
    site.zygotes.settings = replace(site.zygotes.settings, start_seconds=0.0)
    assert zygote.silent_since() is None, "it is not ready yet"
    heard(site, zygote)
    site.zygotes.sweep()
    assert (zygote.state, zygote.why, zygote.failed) == ("ended", "it has not taken a request for 0 s", False)
    wait(running, lambda: bool(site.zygotes._there), outcome)
    assert zygote not in site.zygotes._there.values()
    conclude(running, outcome)


def test_one_that_has_taken_all_or_had_no_time_to_is_not_silent(site: Site) -> None:
    assert complete(site.launcher, site.plan("hello", HELLO, warm=Warm())).stdout == b"hello\n"
    (served,) = site.zygotes._there.values()
    heard(site, served)
    assert served.silent_since() is None
    running = site.launcher.launch(site.plan("deaf", DEAF, warm=Warm("application")))
    (_, deaf) = site.zygotes._there.values()
    heard(site, deaf)
    assert deaf.silent_since() is not None
    conclude(running, Outcome())
    assert deaf.silent_since() is None, "its request was given up at once"


def test_one_that_has_ended_is_noticed_whoever_holds_its_socket(site: Site) -> None:
    running, outcome = site.launcher.launch(site.plan("survived", SURVIVED, warm=Warm("application"))), Outcome()
    (zygote,) = site.zygotes._there.values()
    heard(site, zygote)
    wait_until("it has ended", zygote.has_ended)
    site.poller.dispatch()
    assert zygote.state == "ready", "nothing tells"
    site.zygotes.sweep()
    assert (zygote.state, zygote.failed) == ("ended", False)
    assert "holds its socket open" in zygote.why
    wait(running, lambda: bool(site.zygotes._there), outcome)
    conclude(running, outcome)


def test_one_that_can_be_sent_nothing_makes_room(site: Site) -> None:
    plan = site.plan("closed", CLOSED, warm=Warm("application"))
    first = site.launcher.launch(plan)
    (zygote,) = site.zygotes._there.values()
    heard(site, zygote)
    wait_until("its end is closed", lambda: not accepts(zygote))
    second = site.launcher.launch(plan)
    assert (zygote.state, zygote.why[-24:]) == ("ended", "cgi is gone: Broken pipe")
    assert zygote not in site.zygotes._there.values()
    for running in (first, second):
        conclude(running, Outcome())


def accepts(zygote: Zygote) -> bool:
    try:
        zygote.control.send(b"", 0x4000)  # MSG_NOSIGNAL
    except BrokenPipeError:
        return False
    return True


def test_what_a_zygote_leaves_dead_is_taken_away_though_no_request_ends(site: Site) -> None:
    """By CLONE_PARENT, its children are ours."""
    before = children()
    for _ in range(3):
        if os.fork() == 0:
            os._exit(0)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

    def taken() -> bool:
        site.launcher.sweep()
        return children() == before

    wait_until("none is left", taken)
