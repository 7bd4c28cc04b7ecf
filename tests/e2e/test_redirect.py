"""Local redirects (RFC 3875 section 6.2.2): the client's by default, followed inside with --local-redirects."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import USER, Place, Serve
from tests.servers import SERVERS, Server
from tests.stack import PROGRAM, TREE, Answer, Ask, ask, wait_until

# Goes where its query says, and leaves a process behind that no signal of a terminal reaches.
FIRST = """#!/bin/sh
setsid sleep 600 <&- >&- 2>&- &
echo $$ $! >> $CGI_MARKS/pids
printf 'Location: %s\\n\\n' "$QUERY_STRING"
"""
SHOW = """#!/usr/bin/python3
import json, os, sys
pids = open(os.environ["CGI_MARKS"] + "/pids").read().split()
alive = [pid for pid in pids if os.path.exists("/proc/" + pid)]
body = len(sys.stdin.buffer.read())
text = json.dumps({"environ": dict(os.environ), "body": body, "alive": alive, "began": len(pids) // 2})
sys.stdout.write("Content-Type: application/json\\n\\n" + text)
"""
ON = "--local-redirects"


@pytest.fixture
def first(place: Place) -> str:
    place.script("show.cgi", SHOW)
    return place.script("first.cgi", FIRST)


def shown(answer: Answer) -> dict[str, Any]:
    assert (answer.status, answer.complete) == (200, True), answer.text
    seen: dict[str, Any] = json.loads(answer.body)
    return seen


def test_the_client_is_sent_there_by_default(serve: Serve, first: str) -> None:
    with serve() as selcgi:
        answer = ask(selcgi.socket, Ask(first, "alice", "/cgi-bin/show.cgi"))
        assert (answer.status, answer.headers["Location"], answer.body) == (302, "/cgi-bin/show.cgi", b"")
        assert selcgi.entry()["status"] == 302
        assert len(selcgi.entries()) == 1


def test_a_new_process_answers_when_the_first_is_gone(serve: Serve, way: str, place: Place, first: str) -> None:
    place.rules("alice user_webapp_t:s0:c1 script=*/first.cgi", "alice user_webapp_t:s0:c9 script=*/show.cgi")
    params = {"HTTP_X_A": "kept", "REDIRECT_URL": "/before", "CONTENT_TYPE": "text/plain", "DOCUMENT_URI": "/old"}
    passed = ("--pass-param=REDIRECT_URL", "--pass-param=DOCUMENT_URI")
    with serve(way, ON, *passed, "--concurrent=1") as selcgi:
        asked = Ask(first, "alice", "/cgi-bin/show.cgi/a%20b?x=1", body=bytes(200_000), params=params)
        seen = shown(ask(selcgi.socket, asked))
        assert (seen["alive"], seen["body"], seen["began"]) == ([], 0, 1)
        told = seen["environ"]
        assert (told["REQUEST_METHOD"], told["QUERY_STRING"], told["PATH_INFO"]) == ("GET", "x=1", "/a b")
        assert (told["REQUEST_URI"], told["SCRIPT_NAME"]) == ("/cgi-bin/show.cgi/a%20b?x=1", "/cgi-bin/show.cgi")
        assert (told["REMOTE_USER"], told["AUTH_TYPE"], told["HTTP_X_A"]) == ("alice", "Basic", "kept")
        assert not {name for name in told if name.startswith(("REDIRECT_", "CONTENT_", "DOCUMENT_URI"))}
        wait_until("both lines", lambda: len(selcgi.entries()) == 2)
        one, two = selcgi.entries()
        assert one["id"] == two["id"]
        assert (one["status"], one["redirect"], one["method"]) == (302, "/cgi-bin/show.cgi/a%20b", "POST")
        assert (two["status"], two["method"], "redirect" in two) == (200, "GET", False)
        assert [line["context"].rpartition(":")[2] for line in (one, two)] == ["c1", "c9"]


@pytest.mark.parametrize(
    ("target", "status", "step"),
    [
        ("/elsewhere/show.cgi", 502, "redirect"),
        ("/cgi-bin/../show.cgi", 502, "redirect"),
        ("/cgi-bin/linked.cgi", 502, "redirect"),
        ("/cgi-bin/missing.cgi", 404, "script"),
        ("/cgi-bin/", 404, "script"),
        ("/cgi-bin/others.cgi", 403, "mapping"),
        ("/cgi-bin/loop.cgi", 502, "redirect"),
    ],
)
def test_where_it_may_not_lead(serve: Serve, place: Place, first: str, target: str, status: int, step: str) -> None:
    place.rules(f"* deny script={place.cgi}/others.cgi", "alice user_webapp_t:s0:c1")
    other = place.folder / "other"
    other.mkdir(mode=0o755)
    (other / "show.cgi").write_text(SHOW)
    (other / "show.cgi").chmod(0o755)
    (place.cgi / "linked.cgi").symlink_to(other / "show.cgi")
    place.script("others.cgi", SHOW)
    place.script("loop.cgi", "#!/bin/sh\nprintf 'Location: /cgi-bin/loop.cgi\\n\\n'\n")
    with serve(ON, f"--root={other}") as selcgi:
        answer = ask(selcgi.socket, Ask(first, "alice", target))
        assert (answer.status, answer.complete) == (status, True)
        assert "Location" not in answer.headers
        wait_until("the last line", lambda: selcgi.entry()["status"] == status)
        assert selcgi.entry()["step"] == step
        assert step == "script" or selcgi.entry()["reason"]
        assert len(selcgi.entries()) == (
            6 if "loop" in target else 1 if status == 502 and "linked" not in target else 2
        )
        assert ask(selcgi.socket, Ask(str(place.cgi / "linked.cgi"), "alice")).status == 200, "by itself it may run"


@pytest.mark.parametrize("output", ["Location: /cgi-bin/show.cgi\\n\\nbody", "Location: //cgi-bin/show.cgi\\n\\n"])
def test_what_is_no_local_redirect_goes_to_the_client(serve: Serve, place: Place, output: str) -> None:
    path = place.script("answer.cgi", f"#!/bin/sh\nprintf '{output}'\n")
    with serve(ON) as selcgi:
        answer = ask(selcgi.socket, Ask(path, "alice"))
        assert (answer.status, answer.body.decode()) == (302, output.partition("\\n\\n")[2])
        assert answer.headers["Location"] in output


def test_a_script_that_fails_after_its_location_has_not_answered(serve: Serve, place: Place) -> None:
    path = place.script("slow.cgi", "#!/bin/sh\nprintf 'Location: /cgi-bin/show.cgi\\n\\n'\nexec sleep 600\n")
    with serve(ON, "--timeout=1", "--kill-grace=0.5") as selcgi:
        assert ask(selcgi.socket, Ask(path, "alice")).status == 504
        assert (selcgi.entry()["step"], len(selcgi.entries())) == ("total", 1)


def test_the_answer_to_head_has_no_body(serve: Serve, first: str) -> None:
    with serve(ON) as selcgi:
        answer = ask(selcgi.socket, Ask(first, "alice", "/cgi-bin/show.cgi", method="HEAD"))
        assert (answer.status, answer.body) == (200, b"")


def test_run_shows_every_script_on_the_way(place: Place, first: str) -> None:
    line = [*PROGRAM, "run", "--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}"]
    line += ["--cgroup=none", f"--env=CGI_MARKS={place.marks}", "--user=alice", ON, "first.cgi?/show.cgi/foo"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)})
    assert done.returncode == 0, done.stderr
    assert '"PATH_INFO": "/foo"' in done.stdout
    scripts = [text.split()[-1] for text in done.stderr.splitlines() if text.startswith(("script:", "redirect:"))]
    assert scripts == [first, "/show.cgi/foo", str(place.cgi / "show.cgi")]


@pytest.mark.web
@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_through_a_web_server(place: Place, serve: Serve, kind: type[Server]) -> None:
    """The user stays the one whom the web server knows; a place of its own is not reached through another."""
    with (
        serve(ON, identity=f"proof:{place.proof()}") as selcgi,
        kind(place.folder, place.cgi, selcgi.socket) as server,
    ):
        status, text = server.ask("first.cgi?/cgi-bin/show.cgi/a%20b?x=1", "alice", "--data-binary", "x" * 100_000)
        assert status == 200, text
        seen = json.loads(text)
        assert (seen["body"], seen["alive"], seen["environ"]["REQUEST_METHOD"]) == (0, [], "GET")
        assert (seen["environ"]["REMOTE_USER"], seen["environ"]["PATH_INFO"]) == ("alice", "/a b")
        assert (seen["environ"]["QUERY_STRING"], seen["environ"]["SCRIPT_NAME"]) == ("x=1", "/cgi-bin/show.cgi")
        assert "SELCGI_PROOF" not in seen["environ"]
        assert server.ask("first.cgi?/open/show.cgi")[0] == 200
        assert server.ask("first.cgi?/cgi-bin/show.cgi")[0] == 502
        assert selcgi.entry()["user"] == ""


@pytest.fixture(autouse=True)
def nothing_is_left(place: Place) -> Iterator[None]:
    yield
    pids = (place.marks / "pids").read_text().split() if (place.marks / "pids").exists() else []
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
