"""What the kernel refused a script is in the line of its request, and of no other: as a sentence, with what to do."""

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selcgi.system.refusals import SILENT
from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.delegation import way_options
from tests.enforcing.listening import Listening, listening
from tests.stack import Answer, Ask, Selcgi, ask, ask_all, wait_until

pytestmark = pytest.mark.enforcing

BOBS, ALICES = site.OWN["bob"][0], site.OWN["alice"][0]
HEARD = "are told by the denial listener"


@pytest.fixture
def listener() -> Iterator[Listening]:
    with listening() as running:
        yield running


@pytest.fixture(autouse=True)
def forgiven(avcs: Claims) -> Iterator[None]:
    """Every refusal of this file is a webapp's, and looked for in the log."""
    yield
    avcs.claim_all_of("user_webapp_t")


def heard(selcgi: Selcgi) -> Selcgi:
    wait_until("the listener is heard", lambda: HEARD in selcgi.log())
    return selcgi


def entries(selcgi: Selcgi, number: int) -> list[dict[str, Any]]:
    """The lines of so many requests."""
    wait_until(f"{number} lines in the log", lambda: len(selcgi.entries()) >= number)
    found = selcgi.entries()
    assert len(found) == number
    return found


def test_a_refusal_is_a_sentence_in_the_line_of_its_request(listener: Listening) -> None:  # noqa: ARG001
    with site.serving() as selcgi:
        heard(selcgi)
        tried = attempt(
            selcgi,
            "alice",
            f"open({str(BOBS)!r}, 'a')",
            "socket.create_connection(('127.0.0.1', 25))",
            f"open({str(site.MAP)!r})",
        )
        assert tried == ["EACCES"] * 3
        (entry,) = entries(selcgi, 1)
    categories, port, folder = entry["denied"]
    inode = BOBS.stat().st_ino
    assert categories == (
        f"alice's script attempt.py (user_webapp_t:s0:c1) wanted to write to bob.txt (inode {inode} on ubda) "
        "(user_webapp_rw_t:s0:c2): refused, by its categories (MCS constraint), not for want of a rule: if it is this "
        "user's, relabel it (chcon -l s0:c1, semanage fcontext -r s0:c1); or change the rule's range"
    )
    assert "wanted to connect to TCP port 25 (smtp_port_t): refused, no rule allows it (name_connect): " in port
    assert port.endswith("allow it, if it is wanted: setsebool -P selcgi_webapp_send_mail on")
    assert "wanted to go through selcgi (inode " in folder
    assert "no rule allows it (search): see whether its label is right" in folder
    assert (entry["status"], entry.get("reason", "")) == (200, "")


def test_a_process_with_a_session_of_its_own_is_found(listener: Listening, way: str) -> None:  # noqa: ARG001
    """A grandchild that still runs; selcgi has two workers, so that its context alone would not be certain."""
    script = site.script(
        "daemon.cgi",
        f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nsetsid sh -c 'read x < {BOBS}; exec sleep 0.5' &\nwait\n",
    )
    with site.serving("--workers=2", *way_options(way)) as selcgi:
        heard(selcgi)
        assert run_as(selcgi, script, "alice").status == 200
        (entry,) = entries(selcgi, 1)
    (sentence,) = entry["denied"]
    assert sentence.startswith(
        "alice's script daemon.cgi, by its program sh, (user_webapp_t:s0:c1) wanted to read bob.txt"
    )


GONE = f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n[ -z \"$QUERY_STRING\" ] || cat {BOBS}\nexec sleep 1.5\n"


def told_afterwards(listener: Listening, selcgi: Selcgi, *queries: str) -> list[dict[str, Any]]:
    """The lines of alice's requests, whose refusals are told when the process that was refused is gone for certain."""
    script = site.script("gone.cgi", GONE)
    assert listener.process is not None
    listener.process.send_signal(signal.SIGSTOP)
    answers: list[Answer] = []
    asked = [Ask(str(script), "alice", query) for query in queries]
    asking = threading.Thread(target=lambda: answers.extend(ask_all(selcgi.socket, asked)))
    asking.start()
    wait_until("what follows runs", lambda: running().count("sleep 1.5") == len(queries))
    listener.process.send_signal(signal.SIGCONT)
    asking.join()
    assert [one.status for one in answers] == [200] * len(queries)
    return entries(selcgi, len(queries))


@pytest.mark.parametrize(("workers", "beginning"), [(1, "alice's script "), (2, "probably of this request: alice's ")])
def test_a_process_that_is_gone_is_found_by_its_context(listener: Listening, workers: int, beginning: str) -> None:
    """The other worker might have a request in the same context, which this one can't know."""
    with site.serving(f"--workers={workers}") as selcgi:
        (entry,) = told_afterwards(listener, heard(selcgi), "cat")
    assert entry["denied"][0].startswith(beginning), entry["denied"]
    assert "by its program cat, (user_webapp_t:s0:c1) wanted to read bob.txt" in entry["denied"][0]


def test_what_is_uncertain_is_said_to_be(listener: Listening) -> None:
    """Two requests in one context, and a process that is gone by now: it may be either's."""
    with site.serving() as selcgi:
        found = [entry["denied"] for entry in told_afterwards(listener, heard(selcgi), "", "cat")]
    assert all(one and one[0].startswith("probably of this request: ") for one in found), found


def test_categories_of_its_own_make_a_request_certain(listener: Listening) -> None:
    rules = site.write(site.MAP.with_name("other.map"), "alice user_webapp_t:s0:c{request}\n")
    folder = Path("/var/lib/selcgi")
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, "selcgi", "selcgi")
    site.run("restorecon", "-RF", folder)
    with site.serving("--workers=2", f"--map={rules}") as selcgi:
        found = [entry.get("denied") for entry in told_afterwards(listener, heard(selcgi), "", "cat")]
    told = [one for one in found if one is not None]
    assert len(told) == 1, found
    assert told[0][0].startswith("alice's script gone.cgi, by its program cat, (user_webapp_t:s0:c")


def test_two_requests_in_one_context_each_have_their_own(listener: Listening, way: str) -> None:  # noqa: ARG001
    site.script(
        "two.py",
        "#!/usr/bin/python3 -I\nimport os, time\nprint('Content-Type: text/plain\\n', flush=True)\n"
        "time.sleep(0.5)\ntry:\n    open(os.environ['QUERY_STRING'])\nexcept OSError as error:\n    print(error)\n",
    )
    asked = [Ask(str(site.CGI / "two.py"), "alice", query) for query in (str(BOBS), str(site.MAP))]
    with site.serving(*way_options(way)) as selcgi:
        heard(selcgi)
        assert [one.status for one in ask_all(selcgi.socket, asked)] == [200, 200]
        found = [entry["denied"] for entry in entries(selcgi, 2)]
    assert sorted(len(one) for one in found) == [1, 1]
    assert {next(word for word in ("read bob.txt", "go through selcgi") if word in one[0]) for one in found} == {
        "read bob.txt",
        "go through selcgi",
    }
    assert not [one for one in found if "probably" in one[0]]


def test_without_a_refusal_the_line_has_no_word_of_it(listener: Listening) -> None:  # noqa: ARG001
    with site.serving() as selcgi:
        heard(selcgi)
        assert attempt(selcgi, "alice", f"open({str(ALICES)!r})") == ["ok"]
        (entry,) = entries(selcgi, 1)
    assert "denied" not in entry


def test_without_a_listener_selcgi_works_and_says_so() -> None:
    with site.serving() as selcgi:
        assert attempt(selcgi, "alice", f"open({str(BOBS)!r})") == ["EACCES"]
        (entry,) = entries(selcgi, 1)
        assert "denied" not in entry
        assert "no denial listener at /run/selcgi/avc.sock" in selcgi.log()
        with listening():
            heard(selcgi)
            assert attempt(selcgi, "alice", f"open({str(BOBS)!r})") == ["EACCES"]
            assert "denied" in entries(selcgi, 2)[1]


def test_a_listener_that_is_killed_in_the_middle_is_found_again(listener: Listening) -> None:
    script = site.script(
        "slow.py",
        "#!/usr/bin/python3 -I\nimport time\nprint('Content-Type: text/plain\\n', flush=True)\ntime.sleep(1)\n"
        f"try:\n    open({str(BOBS)!r})\nexcept OSError as error:\n    print(error)\n",
    )
    with site.serving() as selcgi:
        heard(selcgi)
        line = (
            f"import sys; sys.path.insert(0, '/mnt/src'); from tests.stack import *; ask(Path({str(selcgi.socket)!r}), "
        )
        line += f"Ask({str(script)!r}, 'alice'))"
        with subprocess.Popen(["/opt/selcgi/bin/python", "-c", line]) as client:
            wait_until("it runs", lambda: Path("/proc/loadavg").exists() and "slow.py" in running())
            listener.kill()
            wait_until("it is missed", lambda: "it ended" in selcgi.log())
            assert client.wait(20) == 0
        assert [entry["status"] for entry in entries(selcgi, 1)] == [200]
        listener.start()
        wait_until("it is heard again", lambda: selcgi.log().count(HEARD) == 2)
        assert run_as(selcgi, script, "alice").status == 200
        assert "bob.txt" in entries(selcgi, 2)[1]["denied"][0]


def running() -> str:
    return site.run("ps", "-eo", "args")


FLOOD = f"""#!/usr/bin/python3 -I
import os
print('Content-Type: text/plain\\n', flush=True)
for number in range(3000):
    try:
        os.open({str(BOBS)!r}, os.O_RDONLY if number % 2 else os.O_WRONLY)
    except OSError:
        pass
"""


def test_a_flood_costs_others_nothing(listener: Listening) -> None:  # noqa: ARG001
    """By counts: the line of the flood has a few sentences and the number of the rest, and of the others' refusals none
    is lost; one that the kernel, busy with the flood, tells too late for its line is in the status."""
    site.script("flood.py", FLOOD)
    asked = [Ask(str(site.CGI / "flood.py"), "alice")]
    asked += [Ask(str(site.CGI / "attempt.py"), "bob", body=f"open({str(ALICES)!r})".encode())] * 10
    control = site.RUNTIME / "control.sock"
    with site.serving(f"--control={control}") as selcgi:
        heard(selcgi)
        assert [one.status for one in ask_all(selcgi.socket, asked)] == [200] * 11
        found = entries(selcgi, 11)
        status = json.loads(site.run(*site.as_service(), "status", "--json", f"--control={control}"))["denials"]
    flood = [entry["denied"] for entry in found if entry["script"].endswith("flood.py")]
    others = [entry["denied"] for entry in found if entry["user"] == "bob" and "denied" in entry]
    assert len(flood) == 1
    assert flood[0][-1].endswith(" more like these")
    assert int(flood[0][-1].split()[1]) > 1000
    assert len(flood[0]) <= 9
    assert [one for one in others if len(one) != 1 or "alice.txt" not in one[0]] == []
    assert len(others) + status["counts"]["late"] >= 10
    assert status["counts"]["skipped"] > 1000


def test_a_run_from_the_command_line_tells_too(listener: Listening) -> None:  # noqa: ARG001
    script = site.script("shows.cgi", f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat {BOBS}\nexit 0\n")
    words = [*site.as_service(), "run", "--cgroup=none", f"--root={site.CGI}", "--user=alice", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert (
        "denied: alice's script shows.cgi, by its program cat, (user_webapp_t:s0:c1) wanted to read bob.txt"
        in done.stderr
    )


SILENT_NEED = """#!/usr/bin/python3 -I
import sys
try:
    open("/etc/selinux/config").close()
except OSError as error:
    print(error, file=sys.stderr)
    print("Status: 500\\n")
"""


def test_a_refusal_without_a_record_is_said_to_be_possible(listener: Listening) -> None:  # noqa: ARG001
    """A dontaudit rule of the base policy keeps it from the listener."""
    script = site.script("silent.py", SILENT_NEED)
    with site.serving() as selcgi:
        heard(selcgi)
        assert run_as(selcgi, script, "alice").status == 500
        (entry,) = entries(selcgi, 1)
    assert "denied" not in entry
    assert entry["fix"] == SILENT
    words = [*site.as_service(), "run", "--cgroup=none", f"--root={site.CGI}", "--user=alice", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert f"fix: {SILENT}" in done.stderr


def test_a_worker_that_drains_writes_every_line(listener: Listening) -> None:  # noqa: ARG001
    with site.serving() as selcgi:
        heard(selcgi)
        assert attempt(selcgi, "alice", f"open({str(BOBS)!r})") == ["EACCES"]
        selcgi.signal(signal.SIGTERM)
        wait_until("it has ended", lambda: selcgi.process is not None and selcgi.process.poll() is not None)
        assert len(selcgi.entries()) == 1


def test_a_slow_line_keeps_no_client_waiting(listener: Listening) -> None:  # noqa: ARG001
    """The answer is whole before its line is written: seen by their order, unless the machine is slower than both."""
    with site.serving() as selcgi:
        heard(selcgi)
        before = []
        for number in range(20):
            answer = ask(selcgi.socket, Ask(str(site.CGI / "attempt.py"), "alice", body=b"1"))
            assert answer.complete
            before.append(len(selcgi.written()) <= number)
        entries(selcgi, 20)
    assert any(before)
