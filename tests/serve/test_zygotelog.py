"""What a zygote says, and what is said of it: it is code of an application, and the log is not its own."""

import os
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from selcgi.errors import ZygoteFailed
from selcgi.launch.zygote import Application, Zygote
from selcgi.serve import zygotelog
from selcgi.serve.board import Board
from selcgi.serve.log import Lines
from selcgi.serve.zygotelog import ZygoteLog
from selcgi.system.leaves import Leaves
from selcgi.system.selinux import NoLabels

LINES = Lines(as_json=False)
MORE = "WARNING zygote script=/srv/shop.py pid=41 "


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    turned = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(zygotelog, "time", SimpleNamespace(monotonic=lambda: turned.now))
    return turned


@pytest.fixture
def zygotes() -> Iterator[list[Zygote]]:
    made: list[Zygote] = []
    yield made
    for one in made:
        one.pid = 0
        one.close()


def start(made: list[Zygote], script: bytes = b"/srv/shop.py") -> Zygote:
    zygote = Zygote(Application(script, None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote.pid, zygote.state = 41, "ready"
    made.append(zygote)
    return zygote


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Since it was asked last."""
    lines = [LINES.format(record) for record in caplog.records]
    caplog.clear()
    return lines


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> ZygoteLog:
    caplog.set_level("INFO", "selcgi")
    return ZygoteLog(Board(1).pages[0].zygotes)


def test_no_line_is_the_zygotes_own(log: ZygoteLog, zygotes: list[Zygote], caplog: pytest.LogCaptureFixture) -> None:
    forged = "gone\nINFO time=2026-01-01T00:00:00.000Z id=x user=mallory \x1b[2J"
    zygote = start(zygotes, b"/srv/shop.py pid=1 failed:\n")
    log.said(zygote, forged)
    zygote.retire(forged)
    log.changed(zygote)
    zygote.kill(forged)
    zygote.failed, zygote.fix = True, forged
    log.changed(zygote)
    said, retiring, failed = logged(caplog)
    name = 'zygote script="/srv/shop.py pid=1 failed:\\n" pid=41'
    shown = r"gone\x0aINFO time=2026-01-01T00:00:00.000Z id=x user=mallory \x1b[2J"
    assert said == f"INFO {name} {forged!a}"
    assert retiring == f"INFO {name} retiring: {shown}"
    assert failed == f"ERROR {name} failed: {shown}; {shown}"


def test_a_flood_is_counted_and_what_comes_later_is_logged(
    log: ZygoteLog, zygotes: list[Zygote], caplog: pytest.LogCaptureFixture, clock: SimpleNamespace
) -> None:
    zygote = start(zygotes)
    for _ in range(10_000):
        log.said(zygote, "a line")
    assert len(logged(caplog)) == 200
    clock.now += 60
    log.said(zygote, "later")
    assert logged(caplog) == [
        MORE + "9800 more lines of 58800 characters were not logged",
        MORE.replace("WARNING", "INFO") + "'later'",
    ]


def test_one_that_is_started_again_and_again_has_no_more_to_say(
    log: ZygoteLog, zygotes: list[Zygote], caplog: pytest.LogCaptureFixture, clock: SimpleNamespace
) -> None:
    """Others have their own portion, and what was left out is told at each end."""
    lines: list[str] = []
    for _ in range(20):
        clock.now += 2
        zygote = start(zygotes)
        for _ in range(20):
            log.said(zygote, "\u20ac" * 4096)
        zygote.kill("it failed")
        log.changed(zygote)
        lines += logged(caplog)
    left_out = [int(found[1]) for found in map(re.compile(r"(\d+) more lines").search, lines) if found]
    assert len(left_out) == 20
    said = sum("u20ac" in line for line in lines)
    assert said > 5  # one long line takes no more than it is in the log
    assert sum(left_out) + said == 400
    assert sum(map(len, lines)) < 40_000
    log.said(start(zygotes, b"/srv/other.py"), "heard")
    assert logged(caplog) == ["INFO zygote script=/srv/other.py pid=41 'heard'"]


def test_nothing_is_told_of_what_was_logged_in_full(
    log: ZygoteLog, zygotes: list[Zygote], caplog: pytest.LogCaptureFixture
) -> None:
    zygote = start(zygotes)
    os.write(zygote._log_end, b"one\n\ntwo\r\n \nthree")
    for line in zygote.read_log():
        log.said(zygote, line)
    zygote.kill("it was idle")
    log.changed(zygote)
    assert [line.partition(" pid=41 ")[2] for line in logged(caplog)] == [
        "'one'",
        "'two'",
        "'three'",
        "ended: it was idle",
    ]


def test_why_there_is_none_is_told_once_a_minute(
    log: ZygoteLog, caplog: pytest.LogCaptureFixture, clock: SimpleNamespace
) -> None:
    for _ in range(3):
        log.fell_back("/srv/a b\n", ZygoteFailed("no\nroom"))
    clock.now += 61
    log.fell_back("/srv/a b\n", ZygoteFailed("no\nroom"))
    (line, again) = logged(caplog)
    assert line == again
    assert line.startswith(r'WARNING script="/srv/a b\n" is started without a warm interpreter: no\x0aroom')
