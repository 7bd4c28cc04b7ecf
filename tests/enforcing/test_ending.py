"""In enforcing mode too nothing outlives its request, with a delegated cgroup and without."""

import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_ending import begin
from tests.enforcing import site
from tests.enforcing.delegation import CGROUP, delegated, way_options
from tests.family import MEMBERS, SOURCE, alive, all_started, new_tag, wait_dead, wait_started
from tests.stack import Ask, Selcgi, ask, ask_all, wait_until

pytestmark = pytest.mark.enforcing


@contextmanager
def serving(way: str, timeout: int) -> Iterator[Selcgi]:
    with site.serving("--kill-grace=0.5", f"--timeout={timeout}", *way_options(way)) as running:
        assert (way == "cgroup") == (str(CGROUP) in running.log())
        yield running


@pytest.fixture
def ended_by(way: str) -> Iterator[Selcgi]:
    with serving(way, 20) as running:
        yield running


def family() -> str:
    return str(site.script("family.cgi", SOURCE))


def test_the_response_ends(ended_by: Selcgi) -> None:
    tag = new_tag()
    answer = ask(ended_by.socket, Ask(family(), "alice", f"end={tag}"))
    assert (answer.status, answer.text) == (200, "started\n")
    assert alive(tag) == []


def test_the_client_leaves(ended_by: Selcgi) -> None:
    tag = new_tag()
    with begin(ended_by, Ask(family(), "alice", f"stubborn={tag}")):
        wait_started(tag)
    wait_dead(tag)


def mute_family() -> str:
    """Not a word on stdout, so that the client can still be told."""
    return str(site.script("mute.cgi", SOURCE.replace("\nprintf ", "\n: ")))


def test_it_runs_out_of_time(way: str) -> None:
    with serving(way, seconds_for(10, way)) as running:
        tag = new_tag()
        answer = ask(running.socket, Ask(family(), "bob", f"stubborn={tag}"))
        assert (answer.status, answer.complete) == (200, False)
        assert alive(tag) == []
        assert running.entry()["killed_by"] == "total"


def test_it_runs_out_of_time_before_it_has_answered(way: str) -> None:
    with serving(way, seconds_for(10, way)) as running:
        tag = new_tag()
        answer = ask(running.socket, Ask(mute_family(), "bob", f"stubborn={tag}"))
        assert (answer.status, answer.complete) == (504, True)
        assert alive(tag) == []
        assert (running.entry()["killed_by"], running.entry()["status"]) == ("total", 504)


def seconds_for(families: int, way: str) -> int:
    """What it takes to start so many of them here, one after another; a longer deadline would only be waited for."""
    with serving(way, 20) as running:
        began = time.monotonic()
        assert ask(running.socket, Ask(family(), "alice", f"end={new_tag()}")).status == 200
        return min(30, math.ceil(families * (time.monotonic() - began)))


def test_twenty_overlapping_requests_run_out_of_time(way: str) -> None:
    path, tags = mute_family(), [new_tag() for _ in range(20)]
    asked = [Ask(path, user, f"stubborn={tag}") for tag, user in zip(tags, ["alice", "bob"] * 10, strict=True)]
    with serving(way, seconds_for(40, way)) as running, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(ask_all, running.socket, asked)
        wait_until("all twenty at once", lambda: all_started(tags), 30, pause=0.5)
        assert [answer.status for answer in answers.result()] == [504] * 20
        assert [tag for tag in tags if alive(tag)] == []
        assert [entry["killed_by"] for entry in running.entries()] == ["total"] * 20


def test_twenty_overlapping_requests_end_each_on_its_own(ended_by: Selcgi) -> None:
    path = family()
    staying, leaving = [[new_tag() for _ in range(10)] for _ in range(2)]
    held: list[socket.socket] = []
    for tag, user in zip(staying, ["alice", "bob"] * 5, strict=True):
        held.append(begin(ended_by, Ask(path, user, f"hang={tag}")))
        wait_started(tag)
    answers = ask_all(ended_by.socket, [Ask(path, "alice", f"end={tag}") for tag in leaving])
    assert [answer.text for answer in answers] == ["started\n"] * 10
    assert [tag for tag in leaving if alive(tag)] == []
    assert all(alive(tag) for tag in staying)
    for sock in held:
        sock.close()
    for tag in staying:
        wait_dead(tag)


def test_what_a_killed_guard_leaves_ends_with_its_request() -> None:
    with site.serving("--workers=1") as running:
        tag = new_tag()
        with begin(running, Ask(family(), "alice", f"stubborn={tag}")) as sock:
            wait_started(tag)
            (worker,) = running.workers()
            (guard,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
            os.kill(int(guard), signal.SIGKILL)
            while sock.recv(65536):
                pass
        assert alive(tag) == []
        assert running.entry()["step"] == "guard"


def test_a_run_beside_a_service_in_one_cgroup() -> None:
    with delegated() as option, site.serving(option) as running:
        tag = new_tag()
        with begin(running, Ask(family(), "alice", f"hang={tag}")):
            wait_started(tag)
            options = (f"--map={site.MAP}", f"--root={site.CGI}", option, "--user=bob")
            for _ in range(2):
                assert "started" in site.run(*site.as_service(), "run", *options, f"family.cgi?end={new_tag()}")
            assert len(alive(tag)) >= MEMBERS
            assert sorted(path.name for path in CGROUP.glob("run-*")) == []
        wait_dead(tag)
