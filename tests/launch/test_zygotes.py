"""The zygotes of a worker, which this process is, and the requests that they serve."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.launch.cold import Launcher
from selcgi.launch.zygote import Zygote
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Plan, Warm
from selcgi.serve.poller import Poller
from selcgi.settings import EnvironRules, WarmSettings
from selcgi.system.leaves import Leaves
from selcgi.system.selinux import NoLabels
from tests.launch.conftest import Bench, Outcome, complete, conclude

HELLO = "print('hello')\n"


class Told:
    """What the administrator is told. See launch/zygotes.py, Observer."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}  # script, and why

    def changed(self, zygote: Zygote) -> None:
        if zygote.state == "ended":
            self.ended[str(zygote.application)] = zygote.why

    def said(self, zygote: Zygote, line: str) -> None: ...
    def retried(self) -> None: ...
    def fell_back(self, script: str, error: Exception) -> None: ...


class Site:
    """A launcher with zygotes, and scripts for it."""

    def __init__(self, pool: Leaves, folder: Path, settings: WarmSettings) -> None:
        self.poller, self.told, self.held = Poller(), Told(), ExitStack()
        self.zygotes = Zygotes(NoLabels(), pool, settings, EnvironRules())
        self.zygotes.begin(self.poller, self.told)
        self.launcher = Launcher(NoLabels(), pool, self.zygotes)
        self._folder = folder

    def plan(self, name: str, text: str, *, interpreter: str = "/usr/bin/python3", warm: Warm | None = None) -> Plan:
        folder = self._folder / name
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
