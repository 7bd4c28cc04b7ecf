"""`selcgi failures` and `selcgi replay`: what is on record of a request that failed, and the same request once more."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import USER, Place, Serve
from tests.stack import PROGRAM, TREE, Ask, Selcgi, ask, ask_all, wait_until

ESCAPE = "\x1b]0;owned\x07"
HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
# Says what it was asked on stderr, and no head. With $CGI_MARKS/mended it works.
BROKEN = """#!/bin/sh
printf '\\033]0;owned\\007 for %s: %s %s\\n' "$REMOTE_USER" "$QUERY_STRING" "$HTTP_X_PART" >&2
[ ! -e $CGI_MARKS/mended ] || printf 'Content-Type: text/plain\\n\\n\\033]0;owned\\007 %s ' "$QUERY_STRING" && cat
[ -e $CGI_MARKS/mended ] || printf 'Set-Cookie: session=cookie-of-script\\nX-A: \\033[2J\\n'
"""
SECRETS = ("cookie-of-client", "key-of-client", "password-in-query", "cookie-of-script", "secret-of-listener")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def path(place: Place) -> Path:
    return place.folder / "failures"


@pytest.fixture
def selcgi(place: Place, serve: Serve, path: Path) -> Iterator[Selcgi]:
    place.script("hello.cgi", HELLO)
    place.script("broken.cgi", BROKEN)
    with serve("--cgroup=none", f"--failures={path}") as running:
        yield running


@pytest.fixture
def line(place: Place, path: Path) -> Callable[..., list[str]]:
    """The words of a command on the place's records, scripts and mapping."""

    def words(command: str, *more: str) -> list[str]:
        site = ["--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--cgroup=none"]
        site.append(f"--env=CGI_MARKS={place.marks}")
        return [*PROGRAM, command, f"--failures={path}", *(site if command == "replay" else []), *more]

    return words


@pytest.fixture
def run(line: Callable[..., list[str]]) -> Run:
    def start(*words: str) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        return subprocess.run(line(*words), capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ)

    return start


def found(run: Run, number: int) -> list[dict[str, Any]]:
    """All records, once there are so many: they are written behind the answer."""
    seen: list[dict[str, Any]] = []

    def enough() -> bool:
        seen[:] = [json.loads(text) for text in run("failures", "--last=999", "--json").stdout.splitlines()]
        return len(seen) >= number

    wait_until(f"{number} records", enough)
    return seen


def on_terminal(words: list[str]) -> bytes:
    """What a command writes when stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(TREE), "TERM": "xterm"}
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    data = b""
    try:
        while piece := os.read(ours, 65536):
            data += piece
    except OSError:
        pass  # EIO: the last writer has closed it
    os.close(ours)
    process.wait()
    return data


def broken(place: Place, **more: Any) -> Ask:
    params = {"HTTP_COOKIE": "a=cookie-of-client", "HTTP_X_API_KEY": "key-of-client", "HTTP_USER_AGENT": ESCAPE}
    params |= {"SELCGI_PROOF": "secret-of-listener", "HTTP_X_PART": "part"}
    return Ask(
        f"{place.cgi}/broken.cgi/{ESCAPE}", "alice", "sort=name&password=password-in-query", params=params, **more
    )


def test_record_says_what_was_asked_decided_and_done(selcgi: Selcgi, place: Place, run: Run, path: Path) -> None:
    assert ask(selcgi.socket, Ask(f"{place.cgi}/hello.cgi", "alice")).status == 200
    assert ask(selcgi.socket, broken(place)).status == 502
    assert ask(selcgi.socket, Ask(f"{place.cgi}/hello.cgi", "carol")).status == 403
    assert ask(selcgi.socket, Ask(f"{place.cgi}/none.cgi", "bob")).status == 404
    first, second, third = found(run, 3)
    entry = next(one for one in selcgi.entries() if one["status"] == 502)
    assert {name: first[name] for name in entry if name != "level"} == {
        name: value for name, value in entry.items() if name != "level"
    }, "the fields of the log"
    assert (first["kind"], first["rule"], first["exit"]) == ("failed", "site.map:1", "0")
    assert first["context"] == "system_u:system_r:user_webapp_t:s0:c1"
    assert dict(first["params"])["QUERY_STRING"] == "sort=name&password=(removed)"
    assert first["changed"] == ["HTTP_COOKIE", "HTTP_X_API_KEY", "HTTP_X_PART", "QUERY_STRING", "REQUEST_URI"]
    assert first["stdout"].startswith("Set-Cookie: (removed)")
    assert "for alice: sort=name" in first["stderr"]
    assert (second["kind"], second["user"], second["step"]) == ("refused", "carol", "mapping")
    assert (third["kind"], third["user"], third["status"]) == ("missing", "bob", 404)
    assert run("failures", "--kind=refused", "--json").stdout == json.dumps(second) + "\n"
    raw = path.read_bytes().decode()
    assert [secret for secret in SECRETS if secret in raw] == []
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, 0)


def test_table_and_record_are_for_people(selcgi: Selcgi, place: Place, run: Run) -> None:
    assert "no request is on record" in run("failures").stdout
    ask(selcgi.socket, broken(place))
    (record,) = found(run, 1)
    head, row = run("failures").stdout.splitlines()
    assert head.split() == ["time", "id", "status", "user", "script", "step", "reason"]
    assert row.split()[:4] == [record["time"], record["id"], "502", "alice"]
    assert row.index("502") == head.index("status"), "aligned"
    shown = run("failures", record["id"]).stdout
    assert "\n  REQUEST_METHOD     GET\n" in shown
    assert "\nremoved or cut: HTTP_COOKIE, " in shown
    missing = run("failures", "none")
    assert (missing.returncode, "no record 'none'" in missing.stderr) == (3, True)


def test_terminal_never_acts_on_what_a_client_or_script_wrote(
    selcgi: Selcgi, place: Place, run: Run, line: Callable[..., list[str]]
) -> None:
    ask(selcgi.socket, broken(place))
    (record,) = found(run, 1)
    (place.marks / "mended").touch()
    ways = ["failures"], ["failures", "--json"], ["failures", record["id"]], ["replay", record["id"]]
    for words in ways:
        shown = on_terminal(line(*words))
        assert record["time"].encode() in shown or b"?]0;owned?" in shown
        assert b"\x1b]" not in shown
        assert b"\x1b[2J" not in shown
        assert b"\x07" not in shown
    assert b"\x1b[" in on_terminal(line("failures")), "in colour"
    assert "\x1b" not in run("failures", record["id"]).stdout


def test_replay_asks_the_same_again(selcgi: Selcgi, place: Place, run: Run) -> None:
    ask(selcgi.socket, broken(place, body=b"abc"))
    (record,) = found(run, 1)
    again = run("replay", record["id"])
    assert again.returncode == 1
    assert "Status: 502" in again.stdout
    assert (
        "not as it was: HTTP_COOKIE, HTTP_X_API_KEY, HTTP_X_PART, QUERY_STRING, REQUEST_URI, the body" in again.stderr
    )
    assert "for alice: sort=name&password=(removed) \n" in again.stderr
    (place.marks / "mended").touch()
    again = run("replay", "--header=X-Part: new", f"--body={place.map}", record["id"])
    assert again.returncode == 0, again.stderr
    assert "sort=name" in again.stdout
    assert again.stdout.endswith(place.map.read_text())
    assert "for alice: sort=name&password=(removed) new\n" in again.stderr
    assert "the body" not in again.stderr


def test_replay_meets_the_mapping_of_now(selcgi: Selcgi, place: Place, run: Run) -> None:
    ask(selcgi.socket, Ask(f"{place.cgi}/hello.cgi", "carol"))
    (record,) = found(run, 1)
    refused = run("replay", record["id"])
    assert (refused.returncode, "no rule matches" in refused.stderr) == (1, True)
    place.rules("carol staff_webapp_t")
    again = run("replay", record["id"])
    assert (again.returncode, again.stdout.endswith("hello\n")) == (0, True)


@pytest.mark.parametrize("more", [{}, {"CONTENT_LENGTH": "no number"}], ids=["no proof", "not even asked for one"])
def test_replay_runs_as_nobody_whom_only_the_request_has_named(
    serve: Serve, place: Place, run: Run, path: Path, more: dict[str, str]
) -> None:
    script = place.script("who.cgi", HELLO.replace("hello", "hello $REMOTE_USER").replace("'", '"'))
    place.rules("* user_webapp_t")
    with serve("--cgroup=none", f"--failures={path}", identity=f"proof:{place.proof()}") as selcgi:
        assert ask(selcgi.socket, Ask(script, "alice", params=more)).status in (400, 403)
        (record,) = found(run, 1)
    assert record["user"] == ""
    again = run("replay", record["id"])
    assert (again.returncode, again.stdout) == (3, "")
    assert "named the user 'alice', which nothing has proven" in again.stderr
    assert "--user NAME" in again.stderr
    for name in ("bob", ""):
        again = run("replay", f"--user={name}", record["id"])
        assert again.stdout.endswith(f"hello {name}\n"), again.stderr


def test_flood_is_sampled_and_hides_nothing_of_another_kind(selcgi: Selcgi, place: Place, run: Run, path: Path) -> None:
    ask(selcgi.socket, broken(place))
    for _ in range(5):
        ask_all(selcgi.socket, [Ask(f"{place.cgi}/none{number}.cgi", "alice") for number in range(100)])
    kinds = [record["kind"] for record in found(run, 10)]
    assert kinds[0] == "failed"
    assert 10 <= kinds.count("missing") <= 64
    assert path.stat().st_size <= 4 << 20
    assert ask(selcgi.socket, Ask(f"{place.cgi}/hello.cgi", "alice")).status == 200


def test_recorder_that_dies_is_replaced_and_ends_with_the_last_worker(serve: Serve, place: Place, run: Run) -> None:
    place.script("broken.cgi", BROKEN)
    with serve("--cgroup=none", f"--failures={place.folder}/failures") as selcgi:
        before = selcgi.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until("another worker and recorder", lambda: len(set(selcgi.workers()) - set(before)) == 2)
        wait_until("an answer", lambda: ask(selcgi.socket, broken(place)).status == 502)
        count = len(found(run, 1))
        ask(selcgi.socket, broken(place))
    assert len(found(run, 1)) == count + 1, "what failed just before the end is on record"


def test_bad_file_stops_the_start(place: Place, path: Path) -> None:
    path.touch(0o644)
    words = [*PROGRAM, "serve", "--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}"]
    words += [f"--listen=unix:{place.folder}/x.sock", "--cgroup=none", f"--failures={path}"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)}, timeout=20
    )
    assert done.returncode == 3
    assert "no file of mode 0600" in done.stderr
