"""Warm interpreters in trouble: what never ends, what comes all at once, what is as long as it may be."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_warm import HEAD, HELLO, WSGI, pid_of, warm, zygotes
from tests.stack import Ask, Selcgi, ask, ask_all, wait_until

__all__ = ["warm"]


def test_a_thread_is_refused_by_name_and_keeps_no_zygote(place: Place, serve: Serve, cgroup: Path) -> None:
    place.rules("* user_webapp_t:s0 warm=wsgi")
    script = place.script(
        "app.wsgi", f"import threading\nthreading.Thread(target=threading.Event().wait).start()\n{WSGI}"
    )
    with serve(f"--cgroup={cgroup}") as selcgi:
        assert ask(selcgi.socket, Ask(script, "alice")).status == 503
        assert "started a thread (Thread-1 (wait)), which no fork has" in selcgi.entry()["reason"]
        wait_until("its thread keeps it no more", lambda: not zygotes(selcgi))


def test_all_that_are_born_at_once_are_known(place: Place, serve: Serve, cgroup: Path) -> None:
    """The worker learns of one by way of another: of hundreds it must do so one after the other."""
    place.rules("* user_webapp_t:s0 warm=yes timeout=60s")
    script = place.script("hello.cgi", HELLO)
    most = 300
    with serve(f"--cgroup={cgroup}", f"--max-requests={2 * most}") as selcgi, ThreadPoolExecutor(1) as beside:
        pid_of(ask(selcgi.socket, Ask(script, "alice")))
        (worker,), (zygote,) = selcgi.workers(), zygotes(selcgi)
        children = Path(f"/proc/{worker}/task/{worker}/children")
        os.kill(zygote, signal.SIGSTOP)
        asked = [Ask(script, "alice", f"n={n}") for n in range(most)]
        answers = beside.submit(ask_all, selcgi.socket, asked)
        wait_until("all are lent", lambda: len(list(cgroup.glob("worker-0/leaf-*"))) > most)
        os.kill(worker, signal.SIGSTOP)
        os.kill(zygote, signal.SIGCONT)
        wait_until("all are born", lambda: len(children.read_text().split()) > most)
        os.kill(worker, signal.SIGCONT)
        assert [one.text.split()[3:] for one in answers.result()] == [[f"n={n}"] for n in range(most)], selcgi.log()


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\x01"])
def test_params_of_any_bytes_are_as_long_as_a_fresh_start_takes_them(place: Place, warm: Selcgi, letter: str) -> None:
    script = place.script(
        "both.cgi",
        HEAD + "import os\nprint('Content-Type: text/plain\\n')\n"
        "print(len(os.environb[b'HTTP_X_ONE']), len(os.environb[b'HTTP_X_TWO']))\n",
    )
    text = letter * (120_000 // len(letter.encode()))
    answer = ask(warm.socket, Ask(script, "alice", params={"HTTP_X_ONE": text, "HTTP_X_TWO": text}))
    assert (answer.status, answer.text) == (200, "120000 120000\n"), warm.log()


def test_a_child_that_ends_before_it_takes_its_request_is_said_to_have(
    place: Place, serve: Serve, cgroup: Path
) -> None:
    place.rules("* user_webapp_t:s0 warm=wsgi")
    ends = f"import os\nos.setsid = lambda: os._exit(3)\n{WSGI}"
    fails = f"import os\ndef fail(): raise OSError('on purpose')\nos.setsid = fail\n{WSGI}"
    scripts = [place.script("ends.wsgi", ends), place.script("fails.wsgi", fails)]
    with serve(f"--cgroup={cgroup}") as selcgi:
        assert [ask(selcgi.socket, Ask(script, "alice")).status for script in scripts * 5] == [500] * 10
        wait_until("ten lines", lambda: len(selcgi.entries()) == 10)
        assert {entry["reason"] for entry in selcgi.entries()} == {
            "the warm interpreter's child ended before it took the request",
            "a warm interpreter's child failed: on purpose",
        }


def test_one_that_can_not_fork_for_want_of_processes_may_another_time(place: Place, serve: Serve, cgroup: Path) -> None:
    """As a fresh start in its place, whose client is told to try again."""
    place.rules("* user_webapp_t:s0 warm=wsgi")
    script = place.script("app.wsgi", f"import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n{WSGI}")
    with serve(f"--cgroup={cgroup}") as selcgi:
        answer = ask(selcgi.socket, Ask(script, "alice"))
        assert (answer.status, "Retry-After" in answer.headers) == (503, True), selcgi.log()
        assert "the warm interpreter can't fork: Resource temporarily unavailable" in selcgi.entry()["reason"]
        assert "TasksMax=" in selcgi.entry()["fix"]
