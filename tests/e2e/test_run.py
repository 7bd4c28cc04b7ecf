"""`selcgi run` from a shell: its exit code, and what it does with words that no web server could send."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import USER, Place, Serve
from tests.family import SOURCE, alive, new_tag, wait_dead, wait_started
from tests.stack import PROGRAM, TREE, Ask, ask

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
METHOD = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; echo $REQUEST_METHOD $HTTP_X_A\n"
SHORT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\nContent-Length: 100\\n\\nshort'\n"


@pytest.fixture
def run(place: Place) -> Run:
    place.script("method.cgi", METHOD)
    place.script("short.cgi", SHORT)
    shared = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--cgroup=none")

    def start(*words: str | bytes) -> "subprocess.CompletedProcess[bytes]":
        line = [*PROGRAM, "run", *shared, "--user=alice", *words]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        return subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, env=environ, check=False)

    return start


def test_an_answer_that_broke_off_is_a_failure(run: Run) -> None:
    done = run("short.cgi")
    assert done.returncode == 1
    assert done.stdout.endswith(b"\r\n\r\nshort")
    assert b"promised Content-Length 100 and wrote 5 bytes" in done.stderr


@pytest.mark.parametrize("header", ["no colon", ": no name", "a b: c", b"\xff: x", "X-A: a\nb", "X-A: a\rb"])
def test_a_header_that_no_client_could_send_is_a_mistake(run: Run, header: str | bytes) -> None:
    done = run("--header", header, "method.cgi")
    assert done.returncode == 2
    assert b"is not 'NAME: VALUE'" in done.stderr


def test_a_header_in_any_alphabet_arrives(run: Run) -> None:
    done = run("--header", "X-A: \u00e9\u4e2d", "method.cgi")
    assert done.stdout.endswith("GET \u00e9\u4e2d\n".encode())


@pytest.mark.parametrize(("words", "method"), [((), b"POST"), (("--method=GET",), b"GET"), (("--method=PUT",), b"PUT")])
def test_a_body_is_posted_unless_a_method_is_given(run: Run, words: tuple[str, ...], method: bytes) -> None:
    done = run("--body=/etc/hostname", *words, "method.cgi")
    assert done.stdout.rstrip().endswith(method)


@pytest.mark.parametrize("closed", ["cgi", "cgi/method.cgi"])
def test_what_the_scripts_user_may_not_enter_is_named(run: Run, place: Place, closed: str) -> None:
    """Behind a guard, where the event loop closes descriptors of its own in whatever is forked."""
    (place.folder / closed).chmod(0o700)
    done = run("method.cgi")
    what = "search" if closed == "cgi" else "execute"
    reason = f"reason: the Unix user {USER} may not {what} {place.folder / closed} (mode 0700)\n"
    assert reason + f"fix: chmod a+x {place.folder / closed}" in done.stderr.decode()
    assert done.stdout.startswith(b"Status: 500 ")


def test_a_variable_without_a_name_is_a_mistake(run: Run) -> None:
    done = run("--env", "=x", "method.cgi")
    assert (done.returncode, b"has no name" in done.stderr) == (2, True)


@contextmanager
def hanging(place: Place, cgroup: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`selcgi run` with a script that does not end, and its tag."""
    tag = new_tag()
    shared = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}")
    line = [*PROGRAM, "run", *shared, f"--cgroup={cgroup}", "--user=alice", f"family.cgi?hang={tag}"]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ) as process:
        try:
            wait_started(tag)
            yield process, tag
        finally:
            process.terminate()


def test_runs_and_a_service_in_one_cgroup_leave_one_another_alone(place: Place, serve: Serve, cgroup: Path) -> None:
    family = place.script("family.cgi", SOURCE)
    with hanging(place, cgroup) as (first, one):
        with hanging(place, cgroup) as (second, two), serve(f"--cgroup={cgroup}") as selcgi:
            assert ask(selcgi.socket, Ask(family, "alice", f"end={new_tag()}")).text == "started\n"
            assert (first.poll(), second.poll()) == (None, None)
        wait_dead(two)
        assert alive(one)
        assert first.poll() is None
    wait_dead(one)


def test_what_a_killed_run_left_ends_with_the_next(place: Place, cgroup: Path) -> None:
    place.script("family.cgi", SOURCE)
    with hanging(place, cgroup) as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert alive(left)
        with hanging(place, cgroup):
            wait_dead(left)
