"""Workers that are replaced, stopped or attacked: what a request in progress meets, and who may still connect."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, encode_record
from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.stack import Ask, Selcgi, ask, wait_until

WAITS = """#!/bin/sh
echo $$ > $CGI_MARKS/$QUERY_STRING
while [ ! -e $CGI_MARKS/go ]; do sleep 0.05; done
printf 'Content-Type: text/plain\\n\\nwhole\\n'
"""
QUICK = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nquick\\n'\n"
UMASK = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; umask\n"
COUNT = """#!/usr/bin/python3
import sys, time
size = 0
while piece := sys.stdin.buffer.raw.read(65536):
    size += len(piece)
    time.sleep(0.15)
print("Content-Type: text/plain\\n\\n%d" % size)
"""
STRANGERS = """#!/usr/bin/python3
import ctypes, os
libc = ctypes.CDLL(None)
made = 0
for _ in range(20):
    pid = libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0)  # clone(2) of x86_64: CLONE_PARENT | SIGCHLD
    if pid == 0:
        os._exit(0)
    made += pid > 0
print("Content-Type: text/plain\\n\\n%d" % made)
"""


def started(place: Place, selcgi: Selcgi, name: str) -> socket.socket:
    """A request in progress: its script waits for the file "go"."""
    path = place.script("waits.cgi", WAITS)
    sock = begin(selcgi, Ask(path, "alice", query=name))
    wait_until("the script", (place.marks / name).exists)
    return sock


def rest(sock: socket.socket) -> bytes:
    with sock:
        sock.settimeout(20)
        received = b""
        while data := sock.recv(65536):
            received += data
        return received


def test_a_reload_leaves_requests_the_time_that_their_rules_give(serve: Serve, place: Place) -> None:
    with serve("--drain-timeout=1s") as selcgi:
        before = selcgi.workers()
        sock = started(place, selcgi, "one")
        selcgi.signal(signal.SIGHUP)
        wait_until("the successor", lambda: "reloaded" in selcgi.log() and len(selcgi.workers()) == len(before) + 1)
        wait_until("another drain", lambda: ask(selcgi.socket, Ask(place.script("q.cgi", QUICK), "alice")).text)
        subprocess.run(["sleep", "1.5"], check=True)
        (place.marks / "go").touch()
        assert b"whole" in rest(sock)


def test_a_stop_cuts_off_what_does_not_end_and_says_so(serve: Serve, place: Place) -> None:
    with serve("--drain-timeout=1s") as selcgi:
        sock = started(place, selcgi, "one")
        selcgi.signal(signal.SIGTERM)
        assert b"whole" not in rest(sock)
        assert "selcgi stops: 1 requests did not end within 1 s" in selcgi.log()
        assert selcgi.entry()["reason"] == "selcgi was stopped before the response was complete"


def test_a_recycled_worker_is_replaced_before_it_has_ended(serve: Serve, place: Place) -> None:
    quick = place.script("quick.cgi", QUICK)
    with serve("--max-requests=2") as selcgi:
        sock = started(place, selcgi, "one")
        assert [ask(selcgi.socket, Ask(quick, "alice")).text for _ in range(5)] == ["quick\n"] * 5
        (place.marks / "go").touch()
        assert b"whole" in rest(sock)


def test_a_stopping_selcgi_refuses_at_once(serve: Serve, place: Place) -> None:
    with serve() as selcgi:
        sock = started(place, selcgi, "one")
        selcgi.signal(signal.SIGTERM)
        wait_until("the socket is gone", lambda: not selcgi.socket.exists())
        (place.marks / "go").touch()
        assert b"whole" in rest(sock)


def test_a_hangup_is_the_supervisors_alone(serve: Serve, place: Place) -> None:
    with serve() as selcgi:
        before = selcgi.workers()
        sock = started(place, selcgi, "one")
        for worker in before:
            os.kill(worker, signal.SIGHUP)
        (place.marks / "go").touch()
        assert b"whole" in rest(sock)
        assert selcgi.workers() == before


def kill_worker(selcgi: Selcgi, deaths: int) -> None:
    """The one there is, as the death of that number, and wait for the line about it."""
    wait_until("a worker", selcgi.workers)
    os.kill(selcgi.workers()[0], signal.SIGKILL)
    wait_until("its line", lambda: selcgi.log().count("killed by signal 9") == deaths)


def test_a_worker_that_keeps_dying_is_replaced_later_and_later(serve: Serve) -> None:
    with serve() as selcgi:
        for deaths in range(1, 4):
            kill_worker(selcgi, deaths)
        assert re.findall(r"replaced in ([0-9.]+) s", selcgi.log()) == ["0.1", "0.2", "0.4"]


def test_a_body_that_flows_is_not_idle(serve: Serve, place: Place) -> None:
    path = place.script("count.cgi", COUNT)
    with serve("--idle-timeout=1s") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice", body=bytes(1 << 20))).text == f"{1 << 20}\n"


def test_a_rule_may_allow_a_longer_body(serve: Serve, place: Place) -> None:
    place.rules("alice user_webapp_t:s0:c1 max-body=1M", "bob user_webapp_t:s0:c2")
    path = place.script("count.cgi", COUNT)
    with serve("--max-body=1K") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice", body=bytes(10_000))).text == "10000\n"
        assert ask(selcgi.socket, Ask(path, "bob", body=bytes(10_000))).status == 413
        unknown = Ask(path, "bob", body=bytes(10_000), params={"CONTENT_LENGTH": ""})
        assert ask(selcgi.socket, unknown).status == 413


def test_scripts_make_no_files_for_others(serve: Serve, place: Place) -> None:
    with serve() as selcgi:
        assert ask(selcgi.socket, Ask(place.script("umask.cgi", UMASK), "alice")).text == "0027\n"


@pytest.mark.parametrize("account", ["", " uid=nobody"])
def test_children_that_a_script_gives_its_parent_are_taken_away(
    serve: Serve, place: Place, way: str, account: str
) -> None:
    place.rules(f"alice user_webapp_t:s0:c1{account}")
    path = place.script("strangers.cgi", STRANGERS)
    with serve(way) as selcgi:
        (worker,) = selcgi.workers()
        assert ask(selcgi.socket, Ask(path, "alice")).text == "20\n"
        wait_until("no child is left", lambda: not Path(f"/proc/{worker}/task/{worker}/children").read_text())


def test_a_peer_that_asks_on_and_takes_no_answer_is_not_read(serve: Serve, place: Place) -> None:
    """Each of its requests is answered at once, so what waits to be sent to it must be bounded."""
    begun = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, 0, 0, 0, 0, 0)))
    many = (begun + encode_record(Kind.ABORT_REQUEST, 1, b"")) * 1000
    with serve() as selcgi, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(selcgi.socket))
        sock.setblocking(False)
        sent = 0
        while sent < 64 << 20 and select.select([], [sock], [], 2)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += sock.send(many)
        assert sent < 64 << 20
        assert ask(selcgi.socket, Ask(place.script("quick.cgi", QUICK), "alice")).text == "quick\n"
        while select.select([sock], [], [], 2)[0]:
            assert sock.recv(1 << 20), "taken at last, all is well again"


@pytest.mark.parametrize("stopped", [False, True])
def test_workers_share_the_connections_and_nobody_waits_for_one_that_is_stuck(
    serve: Serve, place: Place, stopped: bool
) -> None:
    path = place.script("q.cgi", QUICK)
    with serve("--workers=2") as selcgi, contextlib.ExitStack() as kept:
        first, second = selcgi.workers()
        if stopped:
            os.kill(second, signal.SIGSTOP)
            kept.callback(os.kill, second, signal.SIGCONT)
        for _ in range(40):
            sock = kept.enter_context(begin(selcgi, Ask(path, "alice"), keep=True))
            assert sock.recv(65536)
        more = sockets(first) - sockets(second)
        assert more >= 38 if stopped else abs(more) <= 8


def sockets(pid: int) -> int:
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(each.readlink()).startswith("socket:")
    return found
