"""What an operator sees of warm interpreters: their rows, the totals, the metrics, and why one has ended."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import USER, Place, Serve
from tests.stack import PROGRAM, TREE, Ask, Selcgi, ask, wait_until

HELLO = "#!/usr/bin/python3\nprint('Content-Type: text/plain\\n\\nhello')\n"
Counted = Callable[[], dict[str, Any]]


@pytest.fixture
def warm(place: Place, serve: Serve, cgroup: Path, control: Path) -> Iterator[Selcgi]:
    place.rules("* user_webapp_t:s0")
    options = (f"--warm={place.cgi}/*.py", "--warm-requests=3", "--preload=json", f"--control={control}")
    with serve(f"--cgroup={cgroup}", *options) as running:
        wait_until("the control socket", control.exists)
        yield running


def status(control: Path, *options: str) -> str:
    line = [*PROGRAM, "status", f"--control={control}", *options]
    return subprocess.run(
        line, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(TREE)}
    ).stdout


@pytest.fixture
def counted(control: Path) -> Counted:
    return lambda: json.loads(status(control, "--json"))


def test_a_zygote_from_its_start_to_its_end(place: Place, warm: Selcgi, counted: Counted, control: Path) -> None:
    script = place.script("hello.py", HELLO)
    assert ask(warm.socket, Ask(script, "alice")).status == 200
    wait_until("it is shown as ready", lambda: counted()["zygotes"][0]["state"] == "ready")
    (row,) = counted()["zygotes"]
    (worker,) = [one["pid"] for one in counted()["workers"]]
    assert (row["script"], row["application"], row["worker"], row["requests"]) == (script, "", worker, 1)
    assert b"selcgi-zygote" in Path(f"/proc/{row['pid']}/cmdline").read_bytes()
    assert row["memory"] > 1 << 20, "an interpreter has more than a megabyte of its own"
    assert script in status(control)
    os.kill(row["pid"], signal.SIGKILL)
    wait_until("its end", lambda: counted()["zygotes"][0]["state"] == "ended")
    (ended,) = counted()["zygotes"]
    assert (ended["pid"], ended["why"]) == (row["pid"], "it ended by itself, or was killed")
    assert counted()["warm"] == {
        "zygote_starts": 1, "zygote_failures": 1, "warm_requests": 1, "warm_retries": 0, "warm_fallbacks": 0,
    }  # fmt: skip
    lines = status(control, "--metrics").splitlines()
    assert {"selcgi_zygote_starts_total 1", "selcgi_zygote_failures_total 1", "selcgi_warm_requests_total 1"} < set(
        lines
    )


def test_a_request_whose_zygote_ends_before_it_takes_it_counts_once(
    place: Place, warm: Selcgi, counted: Counted
) -> None:
    script = place.script("hello.py", HELLO)
    assert ask(warm.socket, Ask(script, "alice")).status == 200
    (zygote,) = [row["pid"] for row in counted()["zygotes"]]
    os.kill(zygote, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(ask, warm.socket, Ask(script, "alice"))
        wait_until("it is lent", lambda: counted()["zygotes"][0]["requests"] == 2)
        os.kill(zygote, signal.SIGKILL)
        assert asked.result().status == 200
    found = counted()["warm"]
    assert (found["warm_requests"], found["warm_retries"], found["warm_fallbacks"]) == (2, 1, 0)


def test_one_that_has_served_its_requests_makes_room_for_another(place: Place, warm: Selcgi, counted: Counted) -> None:
    script = place.script("hello.py", HELLO)
    assert [ask(warm.socket, Ask(script, "alice")).status for _ in range(4)] == [200] * 4
    wait_until("four lines", lambda: len(warm.entries()) == 4)
    assert [entry["launch"] for entry in warm.entries()] == ["warm"] * 4
    wait_until("the first is gone", lambda: len([row for row in counted()["zygotes"] if row["state"] == "ended"]) == 1)
    there, ended = counted()["zygotes"]
    assert (there["requests"], ended["requests"], ended["why"]) == (1, 3, "it has served 3 requests")
    assert counted()["warm"]["zygote_failures"] == 0
    assert counted()["warm"]["zygote_starts"] == 2


def test_what_no_glob_matches_and_what_its_rule_keeps_cold(place: Place, warm: Selcgi, counted: Counted) -> None:
    assert ask(warm.socket, Ask(place.script("hello.cgi", HELLO), "alice")).status == 200
    place.rules("alice user_webapp_t:s0 warm=no", "* user_webapp_t:s0")
    warm.signal(signal.SIGHUP)
    wait_until("the reload", lambda: counted()["reload"])
    script = place.script("hello.py", HELLO)
    assert [ask(warm.socket, Ask(script, user)).status for user in ("alice", "bob")] == [200, 200]
    wait_until("three lines", lambda: len(warm.entries()) == 3)
    assert [entry.get("launch") for entry in warm.entries()] == [None, None, "warm"]


def test_run_goes_the_same_way(place: Place, cgroup: Path) -> None:
    script = place.script("hello.py", HELLO)
    line = [*PROGRAM, "run", "--selinux=off", f"--script-user={USER}", f"--map={place.map}", f"--root={place.cgi}"]
    line += [f"--warm={place.cgi}/*", f"--cgroup={cgroup}", "--user=alice", script]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("hello\n")
    assert "launch: warm" in done.stderr
    assert not any(cgroup.rglob("*/cgroup.procs")), "nothing of it is left"


@pytest.mark.parametrize(
    ("more", "answers", "launch", "words"),
    [
        ((), [503, 503], None, "scripts get 503"),
        (("--warm-fallback",), [200, 503], "cold", "scripts get a fresh program"),
    ],
)
def test_without_a_cgroup(
    place: Place, serve: Serve, more: tuple[str, ...], answers: list[int], launch: str | None, words: str
) -> None:
    """Said at the start, before the first request meets it."""
    place.rules("alice user_webapp_t:s0 warm=yes", "bob user_webapp_t:s0 warm=wsgi:app")
    script = place.script("hello.py", HELLO)
    with serve("--cgroup=none", *more) as selcgi:
        assert f"warm interpreters need a cgroup v2 of selcgi's own: {words}" in selcgi.log()
        assert [ask(selcgi.socket, Ask(script, user)).status for user in ("alice", "bob")] == answers, selcgi.log()
        wait_until("two lines", lambda: len(selcgi.entries()) == 2)
        assert selcgi.entries()[0].get("launch") == launch
        assert selcgi.entries()[1]["step"] == "zygote"
