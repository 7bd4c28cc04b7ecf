"""The service as a whole: bodies, limits, identity, reload, drain; on uvloop and on plain asyncio."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.servers import PROOF
from tests.stack import TREE, Ask, ask, wait_until

ECHO = """#!/usr/bin/python3
import os, sys
body = sys.stdin.buffer.read()
open(os.environ["CGI_MARKS"] + "/saw-the-end", "w").write(str(len(body)))
print("Content-Type: text/plain\\n")
print(os.environ.get("CONTENT_LENGTH"), len(body), os.environ.get("REMOTE_USER"), os.environ.get("SELCGI_PROOF"))
"""
SLOW = "#!/bin/sh\n: > $CGI_MARKS/slow\nsleep 2\nprintf 'Content-Type: text/plain\\n\\nslow\\n'\n"


def script_of(place: Place) -> str:
    return place.script("echo.cgi", ECHO)


def test_a_body_of_unknown_length_gets_one(serve: Serve, place: Place) -> None:
    with serve("--cgroup=none") as selcgi:
        asked = Ask(script_of(place), "alice", body=b"x" * 100_000, params={"CONTENT_LENGTH": ""})
        assert ask(selcgi.socket, asked).text == "100000 100000 alice None\n"


@pytest.mark.parametrize(
    ("length", "body", "status", "step"),
    [
        ("5", b"123456", 400, "params"),
        ("2000", b"x" * 2000, 413, "body"),
        ("", b"x" * 2000, 413, "body"),
        ("abc", b"x", 400, "params"),
    ],
)
def test_a_body_that_cannot_be_taken(
    serve: Serve, place: Place, length: str, body: bytes, status: int, step: str
) -> None:
    with serve("--cgroup=none", "--max-body=1000") as selcgi:
        asked = Ask(script_of(place), "alice", body=body, params={"CONTENT_LENGTH": length})
        answer = ask(selcgi.socket, asked)
        assert (answer.status, selcgi.entry()["step"]) == (status, step)
        assert "Request" in answer.text
        assert not (place.marks / "saw-the-end").exists()


@pytest.mark.parametrize("length", ["", str(8 << 20)])
def test_a_body_that_is_too_long_is_read_to_its_end_and_thrown_away(serve: Serve, place: Place, length: str) -> None:
    """A web server that is still sending does not read the answer."""
    asked = Ask(script_of(place), "alice", method="POST", params={"CONTENT_LENGTH": length})
    params = encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs())) + encode_record(Kind.PARAMS, 1, b"")
    with serve("--cgroup=none", "--max-body=1000") as selcgi, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(selcgi.socket))
        sock.sendall(encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, *[0] * 6))) + params)
        sock.sendall(encode_stream(Kind.STDIN, 1, bytes(8 << 20)) + encode_record(Kind.STDIN, 1, b""))
        assert b"Status: 413" in sock.recv(65536)


def test_a_truncated_upload_never_looks_complete(serve: Serve, place: Place) -> None:
    asked = Ask(script_of(place), "alice", method="POST", params={"CONTENT_LENGTH": "100000"})
    with serve("--cgroup=none", "--kill-grace=0.2") as selcgi:
        for gone in (True, False):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(selcgi.socket))
            params = encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs()))
            sock.sendall(encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, *[0] * 6))) + params)
            sock.sendall(encode_record(Kind.PARAMS, 1, b"") + encode_stream(Kind.STDIN, 1, b"x" * 40_000))
            if not gone:
                sock.sendall(encode_record(Kind.STDIN, 1, b""))
                assert b"400" in sock.recv(65536)
            sock.close()
        wait_until("both lines", lambda: len(selcgi.entries()) == 2)
        assert not (place.marks / "saw-the-end").exists()


def test_requests_share_a_kept_connection(serve: Serve, place: Place) -> None:
    asked = [Ask(script_of(place), user, body=b"x" * size) for user, size in (("alice", 1), ("bob", 70_000))]
    with (
        serve("--cgroup=none") as selcgi,
        begin(selcgi, Ask(place.script("slow.cgi", SLOW), "alice"), keep=True) as sock,
    ):
        for number, one in enumerate(asked, 2):
            sock.sendall(encode_record(Kind.BEGIN_REQUEST, number, bytes((0, 1, 1, *[0] * 5))))
            sock.sendall(encode_stream(Kind.PARAMS, number, encode_pairs(one.pairs())))
            sock.sendall(encode_record(Kind.PARAMS, number, b""))
        for number, one in enumerate(asked, 2):
            sock.sendall(encode_stream(Kind.STDIN, number, one.body or b"") + encode_record(Kind.STDIN, number, b""))
        reader, output = RecordReader(), dict.fromkeys((1, 2, 3), b"")
        ended: list[int] = []
        while len(ended) < 3:
            for record in reader.feed(sock.recv(65536)):
                if record.kind == Kind.STDOUT:
                    output[record.request_id] += record.content
                elif record.kind == Kind.END_REQUEST:
                    ended.append(record.request_id)
        assert ended[-1] == 1, "the slow one held nobody up"
        assert output[2].endswith(b"1 1 alice None\n")
        assert output[3].endswith(b"70000 70000 bob None\n")


@pytest.mark.parametrize(
    ("output", "status", "complete"),
    [
        ("", 502, True),
        ("no head at all", 502, True),
        ("Content-Length: 10\\n\\nshort", 200, False),
        ("Content-Length: 2\\n\\nlonger", 200, True),
        ("Status: 404 Nope\\n\\n", 404, True),
    ],
)
def test_answers_that_are_not_what_they_say(
    serve: Serve, place: Place, output: str, status: int, complete: bool
) -> None:
    path = place.script("answer.cgi", f"#!/bin/sh\nprintf '{output}'\n")
    with serve("--cgroup=none") as selcgi:
        answer = ask(selcgi.socket, Ask(path, "alice"))
        assert (answer.status, answer.complete) == (status, complete)
        assert (selcgi.entry()["step"] == "response") == (status == 502 or "Length" in output)


def test_a_name_needs_its_proof_which_goes_nowhere(serve: Serve, place: Place) -> None:
    path = script_of(place)
    with serve("--cgroup=none", identity=f"proof:{place.proof()}") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice")).status == 403
        assert ask(selcgi.socket, Ask(path, "alice", params={"SELCGI_PROOF": "x" * 32})).status == 403
        assert ask(selcgi.socket, Ask(path, "alice", params={"SELCGI_PROOF": PROOF})).text == "None 0 alice None\n"
        assert ask(selcgi.socket, Ask(path)).text == "None 0 None None\n"
        wait_until("four lines", lambda: len(selcgi.entries()) == 4)
        assert [entry["step"] for entry in selcgi.entries()] == ["identity", "identity", "", ""]
        assert PROOF not in selcgi.log()


def test_a_refused_script_is_logged_with_its_rule_and_whom_no_rule_lets_in_hears_nothing(
    serve: Serve, place: Place
) -> None:
    path = script_of(place)
    Path(path).chmod(0o777)
    place.rules(f"alice user_webapp_t:s0:c1 script={path}")
    with serve("--cgroup=none") as selcgi:
        assert ask(selcgi.socket, Ask(f"{path}/info", "alice")).status == 403
        entry = selcgi.entry()
        assert (entry["step"], entry["rule"], entry["script"]) == ("script", "site.map:1", path)
        assert "user_webapp_t" in entry["context"]
        assert entry["fix"] == f"chmod go-w {path}"
        assert ask(selcgi.socket, Ask(path, "carol")).status == 403
        wait_until("the second line", lambda: len(selcgi.entries()) == 2)
        assert (selcgi.entry()["step"], selcgi.entry()["rule"]) == ("mapping", "-")


def test_a_reload_takes_over_a_good_file_and_refuses_a_bad_one(serve: Serve, place: Place) -> None:
    path, slow = script_of(place), place.script("slow.cgi", SLOW)
    with serve("--cgroup=none") as selcgi, begin(selcgi, Ask(slow, "alice")) as sock:
        wait_until("the slow script", (place.marks / "slow").exists)
        place.rules("carol user_webapp_t:s0:c3")
        selcgi.signal(signal.SIGHUP)
        wait_until("the reload", lambda: "reloaded" in selcgi.log())
        # The old worker may take one more connection before it sees its SIGTERM.
        wait_until("the new mapping", lambda: ask(selcgi.socket, Ask(path, "carol")).status == 200)
        assert ask(selcgi.socket, Ask(path, "alice")).status == 403
        assert b"slow" in sock.recv(65536) + sock.recv(65536), "a running request keeps its table"
        place.rules("carol user_webapp_t timout=3")
        selcgi.signal(signal.SIGHUP)
        wait_until("the refusal", lambda: "reload refused" in selcgi.log())
        assert f"{place.map}:1: " in selcgi.log()
        assert ask(selcgi.socket, Ask(path, "carol")).status == 200


def test_sigterm_drains(serve: Serve, place: Place) -> None:
    slow = place.script("slow.cgi", SLOW)
    with serve("--cgroup=none") as selcgi, begin(selcgi, Ask(slow, "alice")) as sock:
        wait_until("the script", (place.marks / "slow").exists)
        selcgi.signal(signal.SIGTERM)
        assert b"slow" in sock.recv(65536)
        assert selcgi.process is not None
        assert selcgi.process.wait(20) == 0
        assert not selcgi.socket.exists()


def test_sigterm_cuts_no_answer_in_two(serve: Serve, place: Place) -> None:
    text = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.1; done"
    path = place.script("lines.cgi", f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n{text}\n")
    with serve("--cgroup=none") as selcgi, begin(selcgi, Ask(path, "alice")) as sock:
        received = sock.recv(65536)
        selcgi.signal(signal.SIGTERM)
        while data := sock.recv(65536):
            received += data
        assert received.count(b"line ") == 10
        assert encode_record(Kind.END_REQUEST, 1, bytes(8)) in received


def test_a_worker_is_renewed_after_its_requests(serve: Serve, place: Place) -> None:
    path = script_of(place)
    with serve("--cgroup=none", "--max-requests=2") as selcgi:
        before = selcgi.workers()
        assert [ask(selcgi.socket, Ask(path, "alice")).status for _ in range(5)] == [200] * 5
        wait_until("another worker", lambda: selcgi.workers() and not set(before) & set(selcgi.workers()))


def test_a_name_cannot_forge_a_line_of_the_log(serve: Serve, place: Place) -> None:
    with serve("--cgroup=none", "--log-format=text") as selcgi:
        assert ask(selcgi.socket, Ask(script_of(place), 'x" status=200 rule="y')).status == 403
        wait_until("the line", lambda: "step=mapping" in selcgi.log())
        (line,) = [line for line in selcgi.log().splitlines() if "step=mapping" in line]
        assert r'user="x\" status=200 rule=\"y"' in line
        assert " status=403 " in line


def test_everything_works_on_plain_asyncio(serve: Serve, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = place.folder / "without"
    blocker.mkdir()
    (blocker / "uvloop.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", f"{blocker}:{TREE}")
    with serve("--cgroup=none") as selcgi:
        mapped = Path(f"/proc/{selcgi.workers()[0]}/maps").read_text()
        assert "uvloop" not in mapped
        assert ask(selcgi.socket, Ask(script_of(place), "alice", body=b"x" * 300_000)).text.startswith("300000 300000")


def test_a_tcp_listener_wants_a_proof(place: Place) -> None:
    words = [sys.executable, str(TREE / "bin" / "selcgi"), "serve", "--selinux=off", "--script-user=nobody"]
    words += [f"--map={place.map}", f"--root={place.cgi}", "--listen=tcp:127.0.0.1:0,identity=remote-user"]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONPATH": str(TREE), "PATH": "/usr/bin"})
    assert done.returncode == 3
    assert "proves nothing on TCP" in done.stderr
    assert json.dumps(done.stderr).count("Traceback") == 0
