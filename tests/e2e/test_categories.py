"""c{user} and c{request} in a running service: who has which, and when a request's are lent again. SELinux is off here:
what the kernel makes of them is tested in tests/enforcing."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selcgi.context import Band
from selcgi.system.leases import Leases
from selcgi.system.registry import Registry
from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.e2e.test_workers import started
from tests.stack import Ask, Selcgi, ask, ask_all, wait_until

QUICK = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nquick\\n'\n"
OWN = "* user_webapp_t:s0:c{user}"
BOTH = "* user_webapp_t:s0:c{user}-s0:c{user},c{request}"
HEAD = "system_u:system_r:user_webapp_t:"


@pytest.fixture
def registry(place: Place) -> Path:
    return place.folder / "categories"


def asked(selcgi: Selcgi, script: str, user: str, status: int) -> dict[str, Any]:
    """The line of the log of a request that gets this answer."""
    seen = len(selcgi.entries())
    assert ask(selcgi.socket, Ask(script, user)).status == status, selcgi.log()
    wait_until("the line", lambda: len(selcgi.entries()) > seen)
    return selcgi.entries()[-1]


def context_of(selcgi: Selcgi, script: str, user: str) -> str:
    return str(asked(selcgi, script, user, 200)["context"])


def test_each_user_has_a_pair_of_his_own_and_keeps_it(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    options = (f"--categories={registry}", "--workers=2")
    with serve(*options) as selcgi:
        users = ["alice", "bob", "a b", "alice", "bob"]
        found = [context_of(selcgi, quick, user) for user in users]
        assert found == [
            f"{HEAD}s0:{pair}" for pair in ("c512,c513", "c512,c514", "c513,c514", "c512,c513", "c512,c514")
        ]
        Registry(registry, Band(512, 1023)).assign("carol")
        assert context_of(selcgi, quick, "dave") == f"{HEAD}s0:c513,c515"
    with serve(*options) as selcgi:
        assert context_of(selcgi, quick, "bob") == f"{HEAD}s0:c512,c514"


def test_many_new_users_at_once_get_one_each(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    users = [f"user{number}" for number in range(40)]
    with serve(f"--categories={registry}", "--workers=4") as selcgi:
        answers = ask_all(selcgi.socket, [Ask(quick, user) for user in users * 2])
        assert [answer.status for answer in answers] == [200] * 80
        wait_until("all lines", lambda: len(selcgi.entries()) == 80)
        contexts: dict[str, set[str]] = {}
        for entry in selcgi.entries():
            contexts.setdefault(entry["user"], set()).add(entry["context"])
    assert [len(each) for each in contexts.values()] == [1] * 40
    assert len(set.union(*contexts.values())) == 40


def test_nobody_known_gets_none(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}") as selcgi:
        entry = asked(selcgi, quick, "", 403)
        assert (entry["step"], entry["rule"]) == ("mapping", "site.map:1")
        assert "the request has no user" in entry["reason"]
    assert Registry(registry, Band(512, 1023)).ledger.numbers == {}


def test_a_name_that_is_not_proven_gets_none(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}", identity="auth-type") as selcgi:
        assert ask(selcgi.socket, Ask(quick, "alice", params={"AUTH_TYPE": None})).status == 403
    assert Registry(registry, Band(512, 1023)).ledger.numbers == {}


def test_by_command_a_new_user_is_refused_until_he_has_some(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}", "--assign-categories=by-command") as selcgi:
        assert "selcgi categories assign" in asked(selcgi, quick, "alice", 403)["fix"]
        Registry(registry, Band(512, 1023)).assign("alice")
        assert context_of(selcgi, quick, "alice") == f"{HEAD}s0:c512,c513"


def test_a_full_band_and_a_damaged_registry_let_in_whom_they_know(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(OWN)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}", "--user-categories=c0.c1") as selcgi:
        assert context_of(selcgi, quick, "alice") == f"{HEAD}s0:c0,c1"
        assert "all 1 pairs of c0.c1 are given" in asked(selcgi, quick, "bob", 500)["reason"]
        assert context_of(selcgi, quick, "alice") == f"{HEAD}s0:c0,c1"
        with open(registry, "ab") as file:
            file.write(b"garbage\n")
        assert "the line is damaged" in asked(selcgi, quick, "alice", 500)["reason"]


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("* user_webapp_t:s0:c600,c{user}", (), "site.map:1: c600.c600 of s0:c600,c{user} can be somebody's own"),
        (f"bob user_webapp_t:s0:c512,c513\n{OWN}", (), "site.map:1: c512.c512 of s0:c512,c513 can be somebody's own"),
        (OWN, ("--request-categories=c1000.c1023",), "overlap"),
        (OWN, ("--categories=/nowhere/categories",), "/nowhere"),
        ("* user_webapp_t:s0:c{request}", ("--categories=/nowhere/categories",), "/nowhere"),
    ],
)
def test_a_mapping_whose_categories_cannot_be_had_does_not_start(
    place: Place, serve: Serve, registry: Path, rule: str, options: tuple[str, ...], words: str
) -> None:
    place.rules(rule)
    with pytest.raises(AssertionError, match="did not start") as caught, serve(f"--categories={registry}", *options):
        pass
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_requests_at_once_have_different_ones_and_the_lowest_that_are_free(
    place: Place, serve: Serve, registry: Path
) -> None:
    place.rules(BOTH)
    with serve(f"--categories={registry}", "--workers=2") as selcgi:
        waiting = [started(place, selcgi, name) for name in ("one", "two", "three")]
        (place.marks / "go").touch()
        for sock in waiting:
            with sock:
                while sock.recv(65536):
                    pass
        wait_until("all lines", lambda: len(selcgi.entries()) == 3)
        found = {str(entry["context"]).rpartition("-s0:c512,c513,")[2] for entry in selcgi.entries()}
        assert found == {"c488,c489", "c488,c490", "c489,c490"}
        quick = place.script("quick.cgi", QUICK)
        assert context_of(selcgi, quick, "alice").endswith(",c488,c489")


def test_when_all_are_lent_a_request_waits_and_then_comes_again(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(BOTH)
    quick = place.script("quick.cgi", QUICK)
    options = (f"--categories={registry}", "--request-categories=c0.c1", "--queue-time=0.3", "--workers=2")
    with serve(*options) as selcgi:
        with started(place, selcgi, "one") as sock:
            answer = ask(selcgi.socket, Ask(quick, "bob"))
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "all 1 pairs of c0.c1 are lent" in selcgi.entry()["reason"]
            (place.marks / "go").touch()
            while sock.recv(65536):
                pass
        assert ask(selcgi.socket, Ask(quick, "bob")).status == 200


def test_one_that_waits_goes_on_when_they_are_given_back(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(BOTH)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}", "--request-categories=c0.c1") as selcgi:
        with started(place, selcgi, "one") as sock, begin(selcgi, Ask(quick, "bob")) as second:
            (place.marks / "go").touch()
            while sock.recv(65536):
                pass
            while second.recv(65536):
                pass
        wait_until("both lines", lambda: len(selcgi.entries()) == 2)
        assert [entry["status"] for entry in selcgi.entries()] == [200, 200]


def test_reloads_leave_no_lease_open(place: Place, serve: Serve, registry: Path) -> None:
    place.rules(BOTH)
    quick = place.script("quick.cgi", QUICK)
    with serve(f"--categories={registry}") as selcgi:
        for number in range(1, 4):
            before = selcgi.workers()
            selcgi.signal(signal.SIGHUP)
            wait_until("the reload", lambda number=number: selcgi.log().count("reloaded: ") == number)
            wait_until("the new worker alone", lambda before=before: not set(before) & set(selcgi.workers()))
            assert context_of(selcgi, quick, "alice").endswith(",c488,c489")
        assert selcgi.process is not None
        links = [one.readlink().name for one in Path(f"/proc/{selcgi.process.pid}/fd").iterdir()]
        assert links.count("categories.leases") == 1


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_a_killed_worker_had_lent_is_free_again_when_its_script_is_dead(
    place: Place, serve: Serve, registry: Path, way: str
) -> None:
    place.rules(BOTH)
    shared = (f"--categories={registry}", "--request-categories=c0.c1", way)
    with serve(*shared) as selcgi, started(place, selcgi, "one"):
        wait_until("its pid", lambda: (place.marks / "one").read_text().endswith("\n"))
        script = int((place.marks / "one").read_text())
        ours = Leases(registry.with_name("categories.leases"), 1)
        (worker,) = selcgi.workers()
        selcgi.signal(signal.SIGSTOP)
        for guard in children_of(worker) if way == "--cgroup=none" else []:
            os.kill(guard, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        wait_until("its death", lambda: not is_running(worker))
        assert is_running(script)
        assert ours.take() is None, "its script lives on"
        selcgi.signal(signal.SIGCONT)
        wait_until("it is free", freed(ours, script))
        ours.free()
        quick = place.script("quick.cgi", QUICK)
        wait_until("another worker", lambda: selcgi.workers() not in ([], [worker]))
        assert context_of(selcgi, quick, "alice").endswith(",c0,c1")


def freed(leases: Leases, script: int) -> Callable[[], bool]:
    def look() -> bool:
        if leases.take() is None:
            return False
        assert not is_running(script)
        return True

    return look
