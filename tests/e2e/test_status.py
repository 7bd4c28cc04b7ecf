"""What an operator sees of a running selcgi: requests, totals, limits, reloads; as table, JSON and metrics."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.servers import PROOF, free_port
from tests.stack import PROGRAM, TREE, Ask, Selcgi, ask, wait_until

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
HANG = "#!/bin/sh\nuntil [ -e $CGI_MARKS/go ]; do sleep 0.05; done\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
Status = Callable[..., str]


@pytest.fixture
def selcgi(place: Place, serve: Serve, control: Path) -> Iterator[Selcgi]:
    place.script("hello.cgi", HELLO)
    place.script("hang.cgi", HANG)
    with serve("--cgroup=none", f"--control={control}", "--concurrent=2", "--queue=1") as running:
        wait_until("the control socket", control.exists)
        yield running


@pytest.fixture
def status(control: Path) -> Status:
    def run(*options: str) -> str:
        line = [*PROGRAM, "status", f"--control={control}", *options]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        return subprocess.run(line, capture_output=True, text=True, check=True, env=environ).stdout

    return run


def of(place: Place, name: str) -> str:
    return str(place.cgi / name)


def counted(status: Status) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(status("--json"))
    return found


def test_requests_in_progress_and_totals(selcgi: Selcgi, place: Place, status: Status) -> None:
    hang = of(place, "hang.cgi")
    with begin(selcgi, Ask(hang, "alice")) as first, begin(selcgi, Ask(hang, "bob")) as second:
        wait_until("two run", lambda: counted(status)["running"] == 2)
        with begin(selcgi, Ask(of(place, "hello.cgi"), "alice")) as third:
            wait_until("one waits", lambda: counted(status)["waiting"] == 1)
            assert ask(selcgi.socket, Ask(of(place, "hello.cgi"), "bob")).status == 503
            found = counted(status)
            rows = {(row["user"], row["state"], row["context"], Path(row["script"]).name) for row in found["requests"]}
            assert rows == {
                ("alice", "runs", "system_u:system_r:user_webapp_t:s0:c1", "hang.cgi"),
                ("bob", "runs", "system_u:system_r:user_webapp_t:s0:c2", "hang.cgi"),
                ("alice", "waits", "system_u:system_r:user_webapp_t:s0:c1", "hello.cgi"),
            }
            table = status()
            assert "2 running, 1 waiting" in table
            assert "limits hit: queue x 1" in table
            (place.marks / "go").touch()
            assert all(b"hello" in one.recv(65536) for one in (first, second, third))
    assert ask(selcgi.socket, Ask(of(place, "missing.cgi"), "carol")).status == 403
    wait_until("all are counted", lambda: sum(counted(status)["answers"].values()) == 5)
    found = counted(status)
    assert found["answers"] == {"200": 3, "403": 1, "503": 1}
    assert found["users"]["alice"] == {"answers": 2, "failed": 0}
    assert found["users"]["carol"] == {"answers": 1, "failed": 1}
    assert found["requests"] == []
    assert found["selinux"] == "selinux=off"


def test_names_that_nobody_has_proven_are_no_users(place: Place, serve: Serve, control: Path, status: Status) -> None:
    with serve("--cgroup=none", f"--control={control}", identity=f"proof:{place.proof()}") as selcgi:
        path = place.script("hello.cgi", HELLO)
        for name, params in (("alice", {"SELCGI_PROOF": PROOF}), ("dora", {"SELCGI_PROOF": "x" * 32}), ("emil", {})):
            ask(selcgi.socket, Ask(path, name, params=params))
        wait_until("all are counted", lambda: sum(counted(status)["answers"].values()) == 3)
        users = counted(status)["users"]
        assert users == {"alice": {"answers": 1, "failed": 0}, "": {"answers": 2, "failed": 2}}
        wait_until("three lines", lambda: len(selcgi.entries()) == 3)
        assert sum("REMOTE_USER" in entry.get("reason", "") for entry in selcgi.entries()) == 2


def test_totals_outlive_their_worker(selcgi: Selcgi, place: Place, status: Status) -> None:
    assert ask(selcgi.socket, Ask(of(place, "hello.cgi"), "alice")).status == 200
    (before,) = [row["pid"] for row in counted(status)["workers"]]
    with begin(selcgi, Ask(of(place, "hang.cgi"), "alice")):
        wait_until("one runs", lambda: counted(status)["running"] == 1)
        os.kill(before, signal.SIGKILL)
        wait_until("another worker", lambda: [row["pid"] for row in counted(status)["workers"]] not in ([], [before]))
    found = counted(status)
    assert (found["running"], found["requests"], found["answers"]) == (0, [], {"200": 1})
    assert found["users"]["alice"] == {"answers": 1, "failed": 0}


def test_the_last_reload_and_why_it_was_refused(selcgi: Selcgi, place: Place, status: Status) -> None:
    assert counted(status)["reload"] is None
    place.rules("alice")
    selcgi.signal(signal.SIGHUP)
    wait_until("the reload", lambda: counted(status)["reload"])
    assert not counted(status)["reload"]["good"]
    assert "refused: " in status()
    assert "site.map:1" in status()
    place.rules("alice user_webapp_t:s0:c1")
    selcgi.signal(signal.SIGHUP)
    wait_until("the reload", lambda: counted(status)["reload"]["good"])
    assert counted(status)["workers"][0]["generation"] == 1


def test_the_control_socket_is_its_owners_and_a_killed_control_process_comes_back(
    selcgi: Selcgi, control: Path, status: Status
) -> None:
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    worker = {row["pid"] for row in counted(status)["workers"]}
    (controller,) = set(selcgi.workers()) - worker
    with socket.socket(socket.AF_UNIX) as stalled:
        stalled.connect(str(control))
        os.kill(controller, signal.SIGKILL)
        wait_until("another", lambda: len(set(selcgi.workers()) - worker - {controller}) == 1)
    assert {row["pid"] for row in counted(status)["workers"]} == worker


def scraped(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return cast(bytes, answer.read()).decode().splitlines()


def test_metrics_on_a_loopback_port(place: Place, serve: Serve) -> None:
    port = free_port()
    path = place.script("hello.cgi", HELLO)
    with serve("--cgroup=none", f"--metrics=127.0.0.1:{port}") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice")).status == 200
        wait_until("the answer is counted", lambda: 'selcgi_answers_total{status="200"} 1' in scraped(port))
        lines = scraped(port)
        assert "selcgi_workers 1" in lines
        assert "alice" not in str(lines)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10)


def test_a_slow_asker_does_not_keep_others_from_their_answer(serve: Serve, control: Path, status: Status) -> None:
    port, answered = free_port(), threading.Event()

    def ask_slowly() -> None:
        with socket.create_connection(("127.0.0.1", port)) as slow, suppress(ConnectionError):
            slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            while not answered.wait(0.1):
                slow.sendall(b"x")

    with serve("--cgroup=none", f"--metrics=127.0.0.1:{port}", f"--control={control}"):
        wait_until("the control socket", control.exists)
        asker = threading.Thread(target=ask_slowly)
        asker.start()
        try:
            assert counted(status)["running"] == 0
        finally:
            answered.set()
            asker.join()


def test_metrics_are_for_this_machine_only(place: Place) -> None:
    line = [*PROGRAM, "serve", "--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--script-user=nobody"]
    line += [f"--listen=unix:{place.folder}/x.sock", "--cgroup=none", "--metrics=0.0.0.0:9999"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)}, timeout=20)
    assert done.returncode == 3
    assert "can be reached from other machines" in done.stderr


def test_nobody_answers(control: Path) -> None:
    line = [*PROGRAM, "status", f"--control={control}"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)})
    assert done.returncode == 3
    assert f"no selcgi answers at {control}: No such file or directory; is selcgi serve running" in done.stderr
