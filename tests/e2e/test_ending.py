"""When a request ends, by whatever cause, nothing that it started is left: with a cgroup, and with a guard."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.family import SOURCE, alive, new_tag, wait_dead, wait_started
from tests.stack import Ask, Selcgi, ask, ask_all, ask_async, wait_until

SHORT = ("--kill-grace=0.5",)


@pytest.fixture
def family(place: Place) -> str:
    return place.script("family.cgi", SOURCE)


def descriptors(pid: int) -> list[str]:
    return sorted(path.name for path in Path(f"/proc/{pid}/fd").iterdir())


def test_the_response_ends(serve: Serve, way: str, family: str) -> None:
    with serve(way) as selcgi:
        tag = new_tag()
        answer = ask(selcgi.socket, Ask(family, "alice", f"end={tag}"))
        assert (answer.status, answer.text, answer.complete) == (200, "started\n", True)
        assert alive(tag) == [], "nothing runs any more when the response has ended"
        assert selcgi.entry()["exit"] == "0"


@pytest.mark.parametrize("after", ["hang", "stubborn"])
def test_the_client_leaves(serve: Serve, way: str, family: str, after: str) -> None:
    with serve(way, *SHORT) as selcgi:
        tag = new_tag()
        with begin(selcgi, Ask(family, "alice", f"{after}={tag}")) as sock:
            wait_started(tag)
            assert b"started" in sock.recv(65536)
        wait_dead(tag)
        wait_until("the line", selcgi.entries)
        assert (selcgi.entry()["killed_by"], selcgi.entry()["status"]) == ("client", 200)


def request_bytes(asked: Ask, keep: bool = False) -> bytes:
    """All records of request 1, without a body."""
    begun = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, int(keep), 0, 0, 0, 0, 0)))
    params = encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs())) + encode_record(Kind.PARAMS, 1, b"")
    return begun + params + encode_record(Kind.STDIN, 1, b"")


def begin(selcgi: Selcgi, asked: Ask, keep: bool = False) -> socket.socket:
    """A connection with one request on it, complete but for its answer."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(selcgi.socket))
    sock.sendall(request_bytes(asked, keep))
    return sock


def test_the_web_server_aborts_on_a_kept_connection(serve: Serve, way: str, family: str) -> None:
    with serve(way, *SHORT) as selcgi:
        tag = new_tag()
        with begin(selcgi, Ask(family, "alice", f"hang={tag}"), keep=True) as sock:
            wait_started(tag)
            sock.sendall(encode_record(Kind.ABORT_REQUEST, 1, b""))
            received = b""
            while encode_record(Kind.END_REQUEST, 1, bytes(8)) not in received:
                data = sock.recv(65536)
                assert data, f"closed after {received!r}"
                received += data
            assert alive(tag) == [], "the request has ended for the web server, and in fact"


def test_a_request_that_is_aborted_at_once_starts_nothing(serve: Serve, way: str, place: Place) -> None:
    path = place.script("mark.cgi", '#!/bin/sh\ntouch "$CGI_MARKS/started"\necho\n')
    with serve(way) as selcgi, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(selcgi.socket))
        sock.sendall(request_bytes(Ask(path, "alice"), keep=True) + encode_record(Kind.ABORT_REQUEST, 1, b""))
        assert sock.recv(65536).endswith(encode_record(Kind.END_REQUEST, 1, bytes(8)))
        assert (selcgi.entry()["status"], selcgi.entry()["exit"], selcgi.entry()["step"]) == (499, "", "client")
        assert selcgi.entry()["reason"] == "the client left before its script was started"
        assert list(place.marks.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "after", "step"),
    [
        ("--timeout=2", "hang", "total"),
        ("--timeout=2", "stubborn", "total"),
        ("--idle-timeout=2", "hang", "idle"),
        ("--idle-timeout=2", "silent", "idle"),
    ],
)
def test_it_runs_out_of_time(serve: Serve, way: str, family: str, option: str, after: str, step: str) -> None:
    with serve(way, *SHORT, option) as selcgi:
        tag = new_tag()
        answer = ask(selcgi.socket, Ask(family, "alice", f"{after}={tag}"))
        assert alive(tag) == []
        assert (answer.status, answer.complete) == (200, False), "the head was out: the answer must look broken"
        entry = selcgi.entry()
        assert (entry["step"], entry["killed_by"]) == (step, step)
        assert "--" in entry["fix"]


def test_a_script_that_heeds_sigterm_may_tidy_up(serve: Serve, way: str, family: str, place: Place) -> None:
    with serve(way, "--kill-grace=10", "--timeout=2") as selcgi:
        tag = new_tag()
        ask(selcgi.socket, Ask(family, "alice", f"term={tag}"))
        assert (place.marks / tag).read_text() == "ended\n"
        assert alive(tag) == []
        assert selcgi.entry()["exit"] == "0"


def test_twenty_overlapping_requests_end_each_on_its_own(serve: Serve, way: str, family: str) -> None:
    with serve(way, *SHORT) as selcgi:
        staying, leaving = [[new_tag() for _ in range(10)] for _ in range(2)]
        held = [begin(selcgi, Ask(family, "alice", f"hang={tag}")) for tag in staying]
        for tag in staying:
            wait_started(tag)
        answers = ask_all(selcgi.socket, [Ask(family, "bob", f"end={tag}") for tag in leaving])
        assert [answer.text for answer in answers] == ["started\n"] * 10
        assert [tag for tag in leaving if alive(tag)] == []
        assert all(len(alive(tag)) >= 5 for tag in staying), "the others are untouched"
        for sock in held:
            sock.close()
        for tag in staying:
            wait_dead(tag)


def test_output_that_is_still_in_the_pipe_is_not_lost(serve: Serve, way: str, place: Place) -> None:
    text = "#!/usr/bin/python3\nimport os\nos.write(1, b'Content-Type: text/plain\\n\\n' + b'x' * 60000)\n"
    path = place.script("burst.cgi", text)
    with serve(way) as selcgi:

        async def slowly() -> int:
            return len((await ask_async(selcgi.socket, Ask(path, "alice"))).body)

        assert asyncio.run(slowly()) == 60000


def test_a_fork_bomb_is_ended(serve: Serve, way: str, place: Place) -> None:
    """Every member replaces itself as long as it can; none outlives the request."""
    tag = new_tag()
    text = f"#!/bin/bash\nf() {{ sleep 0.0{tag} & sleep 1000.{tag} & }}\nfor i in $(seq 50); do f; done; wait\n"
    path = place.script("bomb.cgi", text)
    with serve(way, *SHORT, "--timeout=2") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice")).status == 504
        assert alive(tag) == []


def test_nothing_is_left_of_many_requests(serve: Serve, way: str, family: str) -> None:
    with serve(way, *SHORT) as selcgi:
        (worker,) = selcgi.workers()
        ask_all(selcgi.socket, [Ask(family, "alice", f"end={new_tag()}") for _ in range(10)])
        # The leaves of those ten, where a kill was, go when the next request gets its own. So their numbers differ.
        ask(selcgi.socket, Ask(family, "alice", f"end={new_tag()}"))
        before = len(descriptors(worker))
        for _ in range(20):
            ask(selcgi.socket, Ask(family, "alice", f"end={new_tag()}"))
        wait_until("no more descriptors", lambda: len(descriptors(worker)) <= before)
        wait_until("no child of the worker", lambda: not Path(f"/proc/{worker}/task/{worker}/children").read_text())


def test_a_killed_worker_takes_its_scripts_along_and_is_replaced(serve: Serve, way: str, family: str) -> None:
    with serve(way, *SHORT) as selcgi:
        (worker,) = selcgi.workers()
        tag = new_tag()
        with begin(selcgi, Ask(family, "alice", f"hang={tag}")):
            wait_started(tag)
            os.kill(worker, signal.SIGKILL)
            wait_dead(tag)
        wait_until("another worker", lambda: [pid for pid in selcgi.workers() if pid != worker])
        assert ask(selcgi.socket, Ask(family, "alice", f"end={new_tag()}")).status == 200
        assert "killed by signal 9" in selcgi.log()


@pytest.mark.parametrize(("head", "status"), [("", 500), ("printf 'Content-Type: text/plain\\n\\nstarted\\n'\n", 200)])
def test_a_killed_guard_takes_its_scripts_along(serve: Serve, place: Place, head: str, status: int) -> None:
    tag = new_tag()
    text = f"#!/bin/sh\n{head}setsid sleep 1000.{tag} &\n(setsid sleep 1000.{tag} &)\nexec sleep 1000.{tag}\n"
    path = place.script("orphans.cgi", text)
    with serve("--cgroup=none") as selcgi:
        (worker,) = selcgi.workers()
        with begin(selcgi, Ask(path, "alice")) as sock:
            wait_until("all three", lambda: len(alive(tag)) == 3)
            assert not head or b"started" in sock.recv(65536)
            (guard,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
            os.kill(int(guard), signal.SIGKILL)
            while sock.recv(65536):
                pass
        assert alive(tag) == [], "nothing runs any more when the response has ended"
        assert (selcgi.entry()["step"], selcgi.entry()["status"]) == ("guard", status)
        assert Path(f"/proc/{worker}/task/{worker}/children").read_text() == ""
