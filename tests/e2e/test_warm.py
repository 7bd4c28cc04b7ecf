"""Warm interpreters at work: one zygote, a process for each request, and the same end of everything as cold."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.family import SOURCE, alive, command_lines, new_tag, wait_dead, wait_started
from tests.stack import Answer, Ask, Selcgi, ask, ask_all, wait_until

HEAD = "#!/usr/bin/python3\n"
HELLO = f"""{HEAD}
import os, sys
print("Content-Type: text/plain\\n")
print(os.getpid(), os.getppid(), os.environ.get("REMOTE_USER"), os.environ["QUERY_STRING"], sys.stdin.read())
"""
FAMILY = f"""{HEAD}
import os
os.execv("/bin/bash", ["bash", {{path!r}}])
"""


@pytest.fixture
def warm(place: Place, serve: Serve, cgroup: Path) -> Iterator[Selcgi]:
    place.rules("* user_webapp_t:s0 warm=yes")
    with serve(f"--cgroup={cgroup}", "--kill-grace=0.5") as selcgi:
        yield selcgi


def zygotes(selcgi: Selcgi) -> list[int]:
    """Pids of the processes that run selcgi-zygote and lead no session of a request."""
    found = []
    for worker in selcgi.workers():
        children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        lines = command_lines()  # not of one that has been reaped meanwhile
        found += [int(pid) for pid in children if b"selcgi-zygote" in lines.get(int(pid), b"")]
    return found


def pid_of(answer: Answer) -> int:
    assert answer.status == 200, answer.text
    return int(answer.text.split()[0])


def test_a_request_is_a_process_of_its_own(place: Place, warm: Selcgi) -> None:
    script = place.script("hello.cgi", HELLO)
    answers = ask_all(warm.socket, [Ask(script, "alice", f"n={n}", body=b"b%d" % n) for n in range(12)])
    seen = [answer.text.split() for answer in answers]
    assert [words[2:] for words in seen] == [["alice", f"n={n}", f"b{n}"] for n in range(12)], warm.log()
    assert len({words[0] for words in seen}) == 12
    assert {int(words[1]) for words in seen} == set(warm.workers()), "its parent is the worker, which waits for it"
    assert (warm.entry()["exit"], warm.entry()["launch"]) == ("0", "warm")
    assert len(zygotes(warm)) == 1, "one interpreter for all of them"


def test_a_script_that_its_user_may_not_read_runs(place: Place, warm: Selcgi) -> None:
    script = place.script("hello.cgi", HELLO)
    Path(script).chmod(0o711)
    pid_of(ask(warm.socket, Ask(script, "alice")))


@pytest.fixture
def family(place: Place) -> str:
    path = place.script("family.bash", SOURCE)
    return place.script("family.cgi", FAMILY.format(path=path))


def test_all_that_it_started_ends_with_it(warm: Selcgi, family: str) -> None:
    tags = [new_tag() for _ in range(10)]
    answers = ask_all(warm.socket, [Ask(family, "alice", f"end={tag}") for tag in tags])
    assert [(one.status, one.text) for one in answers] == [(200, "started\n")] * 10, warm.log()
    assert [alive(tag) for tag in tags] == [[]] * 10


def test_a_deadline_ends_it(place: Place, serve: Serve, cgroup: Path, family: str) -> None:
    place.rules("* user_webapp_t:s0 warm=yes timeout=2s")
    with serve(f"--cgroup={cgroup}", "--kill-grace=0.5") as selcgi:
        tag = new_tag()
        assert not ask(selcgi.socket, Ask(family, "alice", f"stubborn={tag}")).complete
        assert alive(tag) == []
        assert selcgi.entry()["killed_by"] == "total"
        assert len(zygotes(selcgi)) == 1, "the interpreter goes on"


def test_what_has_no_command_line_ends_with_the_stop(place: Place, warm: Selcgi) -> None:
    script = place.script("hello.cgi", HELLO)
    pid_of(ask(warm.socket, Ask(script, "alice")))
    (zygote,) = zygotes(warm)
    warm.__exit__()
    assert not Path(f"/proc/{zygote}").exists()


def test_a_zygote_that_dies_costs_one_more_start(place: Place, warm: Selcgi) -> None:
    script = place.script("hello.cgi", HELLO)
    pid_of(ask(warm.socket, Ask(script, "alice")))
    (first,) = zygotes(warm)
    os.kill(first, signal.SIGSTOP)  # so that the request is on its way when it dies
    os.kill(first, signal.SIGKILL)
    pid_of(ask(warm.socket, Ask(script, "alice")))
    (second,) = zygotes(warm)
    assert second != first


def test_a_changed_script_gets_another_zygote(place: Place, warm: Selcgi) -> None:
    script = place.script("hello.cgi", HELLO)
    assert "alice" in ask(warm.socket, Ask(script, "alice")).text
    place.script("hello.cgi", HELLO.replace("REMOTE_USER", "SCRIPT_NAME"))
    assert "/cgi-bin/hello.cgi" in ask(warm.socket, Ask(script, "alice")).text
    wait_until("the old one is gone", lambda: len(zygotes(warm)) == 1)


def test_no_zygote_is_503_with_the_reason_in_the_log(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=yes")
    script = place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}", "--preload=no_such_module") as selcgi:
        answers = [ask(selcgi.socket, Ask(script, "alice")) for _ in range(3)]
        assert [one.status for one in answers] == [503] * 3
        assert "no_such_module" not in "".join(one.text for one in answers)
        for entry in selcgi.entries():
            assert entry["step"] == "zygote"
            assert "no_such_module" in entry["reason"], entry
        wait_until("it is gone", lambda: not zygotes(selcgi))


def test_a_fallback_is_a_cold_start(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=yes")
    script = place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}", "--preload=no_such_module", "--warm-fallback") as selcgi:
        answers = [ask(selcgi.socket, Ask(script, "alice", body=b"whole")) for _ in range(3)]
        assert [one.text.split()[2:] for one in answers] == [["alice", "whole"]] * 3, selcgi.log()
        wait_until("three lines", lambda: len(selcgi.entries()) == 3)
        assert [entry["launch"] for entry in selcgi.entries()] == ["cold"] * 3
        assert selcgi.log().count("is started without a warm interpreter") == 1


def test_a_client_that_leaves_ends_it(warm: Selcgi, family: str) -> None:
    tag = new_tag()
    with begin(warm, Ask(family, "alice", f"hang={tag}")) as sock:
        wait_started(tag)
        assert b"started" in sock.recv(65536)
    wait_dead(tag)


WSGI = """
import os, sys
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("on purpose")
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Who", environ["REMOTE_USER"])])
    if environ["PATH_INFO"] == "/break":
        return broken()
    print("for the log")
    return [environ["wsgi.input"].read()[::-1], b" %d" % os.getpid()]

def broken():
    yield b"half"
    raise RuntimeError("in the middle")
"""


@pytest.fixture
def wsgi(place: Place, serve: Serve, cgroup: Path) -> Iterator[tuple[Selcgi, str]]:
    place.rules("* user_webapp_t:s0 warm=wsgi")
    script = place.script("app.wsgi", WSGI)
    with serve(f"--cgroup={cgroup}") as selcgi:
        yield selcgi, script


def test_a_wsgi_application_answers(wsgi: tuple[Selcgi, str]) -> None:
    selcgi, script = wsgi
    answers = ask_all(selcgi.socket, [Ask(script, "alice", body=b"abc") for _ in range(5)])
    assert {one.status for one in answers} == {201}, selcgi.log()
    assert {(one.headers["X-Who"], one.text.split()[0]) for one in answers} == {("alice", "cba")}
    assert len({one.text.split()[1] for one in answers}) == 5
    assert b"for the log" in answers[0].stderr


def test_one_that_raises_is_500_and_one_that_breaks_off_is_not_whole(wsgi: tuple[Selcgi, str]) -> None:
    selcgi, script = wsgi
    assert ask(selcgi.socket, Ask(f"{script}/raise", "alice")).status == 500
    assert "on purpose" in selcgi.log()
    assert not ask(selcgi.socket, Ask(f"{script}/break", "alice")).complete, selcgi.log()
    wait_until("its line", lambda: "SIGABRT" in selcgi.log())


SIBLING = """#!/usr/bin/python3
import sibling
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [sibling.text]
"""


def test_a_module_that_it_has_loaded_changes(place: Place, wsgi: tuple[Selcgi, str]) -> None:
    selcgi, _ = wsgi
    (place.cgi / "sibling.py").write_text("text = b'first'\n")
    script = place.script("sibling.wsgi", SIBLING)
    assert ask(selcgi.socket, Ask(script, "alice")).text == "first"
    (place.cgi / "sibling.py").write_text("text = b'other'\n")
    wait_until("the new text", lambda: ask(selcgi.socket, Ask(script, "alice")).text == "other", pause=0.2)
    assert f"{place.cgi}/sibling.py has changed" in selcgi.log()
    assert {entry["status"] for entry in selcgi.entries()} == {200}, "no request has paid for it"


def test_a_module_changes_while_the_zygote_still_starts(place: Place, wsgi: tuple[Selcgi, str]) -> None:
    selcgi, _ = wsgi
    sibling = place.cgi / "sibling.py"
    sibling.write_text("text = b'first'\n")
    sibling.chmod(0o666)
    changes = f"import sibling\nwith open({str(sibling)!r}, 'w') as file: file.write(\"text = b'another'\\n\")\n"
    script = place.script("sibling.wsgi", SIBLING + changes)
    assert ask(selcgi.socket, Ask(script, "alice")).text == "first", selcgi.log()
    wait_until("the new text", lambda: ask(selcgi.socket, Ask(script, "alice")).text == "another", pause=0.2)
    assert f"{sibling} has changed" in selcgi.log()


def test_it_is_replaced_after_so_many_requests(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=yes")
    script = place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}", "--warm-requests=2") as selcgi:
        answers = ask_all(selcgi.socket, [Ask(script, "alice", f"n={n}") for n in range(7)])
        assert {one.status for one in answers} == {200}, selcgi.log()
        assert selcgi.log().count("it has served 2 requests") >= 3
        wait_until("the others are gone", lambda: len(zygotes(selcgi)) <= 1)


def test_one_that_is_idle_ends_and_another_comes_when_it_is_asked_for(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=yes")
    script = place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}", "--warm-idle=1") as selcgi:
        pid_of(ask(selcgi.socket, Ask(script, "alice")))
        wait_until("it is gone", lambda: not zygotes(selcgi))
        pid_of(ask(selcgi.socket, Ask(script, "alice")))


def test_there_are_no_more_than_so_many(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=yes")
    scripts = [place.script(f"hello-{n}.cgi", HELLO) for n in range(3)]
    with serve(f"--cgroup={cgroup}", "--warm-zygotes=2") as selcgi:
        for script in scripts * 2:
            pid_of(ask(selcgi.socket, Ask(script, "alice")))
        assert "another application needs its place" in selcgi.log()
        wait_until("those that had to go are gone", lambda: len(zygotes(selcgi)) == 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/bin/sh\necho", "its interpreter is /bin/sh"),
        ("#!/usr/bin/python3 -O\n", "can't be started with -O"),
        ("#!/usr/bin/env python9\n", "finds no python9"),
    ],
)
def test_what_no_zygote_can_stand_for_is_said(place: Place, warm: Selcgi, text: str, reason: str) -> None:
    script = place.script("other.cgi", text)
    assert ask(warm.socket, Ask(script, "alice")).status == 503
    assert reason in warm.entry()["reason"]


def test_params_that_are_very_long_arrive_whole(place: Place, warm: Selcgi) -> None:
    script = place.script(
        "long.cgi", HEAD + "import os\nprint('Content-Type: text/plain\\n')\nprint(len(os.environ['HTTP_X_LONG']))\n"
    )
    answer = ask(warm.socket, Ask(script, "alice", params={"HTTP_X_LONG": "x" * 120_000}))
    assert (answer.status, answer.text) == (200, "120000\n"), warm.log()
