"""No descriptor, no process, no memory left: each request is answered or broken off, and all is well when there is
some again.

What there is, is taken from the running worker by prlimit(2) or a pids cgroup, and given back; so what fails is one
request, at one place after the other.
"""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Place, Serve, cgroup2
from tests.e2e.faults import HELLO, connections, last_entry, leaving_nothing, outcome
from tests.e2e.test_ending import begin
from tests.e2e.test_service import until_end
from tests.stack import PROGRAM, Ask, Selcgi, ask, wait_until

ENOUGH = 24  # descriptors for one request with a spooled body, generously
OTHER = "games"  # a user without processes of its own


@contextmanager
def limited(pid: int, which: int, most: int) -> Iterator[None]:
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, before)


def room_for(pid: int, more: int) -> int:
    """The limit under which the process can open `more` descriptors."""
    used = {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return [number for number in range(len(used) + more + 1) if number not in used][more]


def entry_after(selcgi: Selcgi, count: int) -> dict[str, Any]:
    wait_until("its line", lambda: len(selcgi.entries()) > count)
    return selcgi.entries()[count]


def test_descriptors_for_a_part_of_a_request(serve: Serve, place: Place, way: str) -> None:
    """One more at each turn: wherever it fails, the client is told to come again, and nothing is lost."""
    selcgi, path = serve(way, f"--spool={place.folder}"), place.script("wc.cgi", HELLO + "wc -c\n")
    asked = Ask(path, "alice", body=bytes(200_000), params={"CONTENT_LENGTH": ""})
    entries = []
    with leaving_nothing(selcgi, place, way) as worker:
        for more in range(1, ENOUGH):
            wait_until("the last connection's end", lambda: not connections(selcgi))
            count = len(selcgi.entries())
            with limited(worker, resource.RLIMIT_NOFILE, room_for(worker, more)):
                answer = ask(selcgi.socket, asked)
            entries.append(entry_after(selcgi, count))
            assert outcome(answer) == (entries[-1]["status"], True)
    failed = [entry for entry in entries if entry["status"] == 503]
    assert [entry["status"] for entry in entries] == [503] * len(failed) + [200] * (ENOUGH - 1 - len(failed))
    assert {"Too many open files" in entry["reason"] and "LimitNOFILE=" in entry["fix"] for entry in failed} == {True}
    assert {entry["step"] for entry in failed} == {"admission", "make_streams", "guard" if "none" in way else "exec"}


def test_no_descriptor_for_a_connection(serve: Serve, place: Place, way: str) -> None:
    """It waits in the socket's backlog."""
    selcgi, path = serve(way), place.script("hello.cgi", HELLO)
    with leaving_nothing(selcgi, place, way) as worker:
        with limited(worker, resource.RLIMIT_NOFILE, 0):
            sock = begin(selcgi, Ask(path, "alice"))
            wait_until("the line", lambda: "cannot accept" in selcgi.log())
            assert "Too many open files; raise LimitNOFILE=, or lower --concurrent, trying again" in selcgi.log()
        with sock:
            assert b"hello" in until_end(sock)


@contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """A pids cgroup, version 1 or 2, in which the process is alone and must stay so."""
    v1 = Path("/sys/fs/cgroup/pids/tasks").exists()
    top = Path("/sys/fs/cgroup/pids") if v1 else cgroup2()
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    home = top / next(path for _, controllers, path in lines if controllers == ("pids" if v1 else "")).lstrip("/")
    # The home of a worker must stay where it is, between its leaves: what is above both is limited.
    limited = home.parent if home.name == "home" else top / f"selcgi-tests-pids-{pid}"
    for above in [] if v1 else [one for one in reversed(limited.parents) if one.is_relative_to(top)]:
        (above / "cgroup.subtree_control").write_text("+pids")
    if limited != home.parent:
        limited.mkdir()
        (limited / "cgroup.procs").write_text(str(pid))
    (limited / "pids.max").write_text("1")
    try:
        yield
    finally:
        if limited != home.parent:
            (home / "cgroup.procs").write_text(str(pid))
            limited.rmdir()
        else:
            (limited / "pids.max").write_text("max")


def test_a_worker_that_cannot_be_started_yet(serve: Serve, place: Place) -> None:
    """Neither anew after its death nor at a reload; the supervisor tries again, and the old worker goes on."""
    selcgi, hello = serve(), place.script("hello.cgi", HELLO)
    with selcgi:
        assert selcgi.process is not None
        (first,) = selcgi.workers()
        with no_more_processes(selcgi.process.pid):
            place.rules("carol user_webapp_t:s0:c3")
            selcgi.signal(signal.SIGHUP)
            wait_until("the sentence", lambda: "cannot start a process" in selcgi.log())
            assert "Resource temporarily unavailable" in selcgi.log()
            assert "TasksMax=" in selcgi.log()
            assert ask(selcgi.socket, Ask(hello, "alice")).status == 200, "as by the old mapping"
            os.kill(first, signal.SIGKILL)
            wait_until("its end", lambda: selcgi.workers() == [])
        wait_until("the new mapping", lambda: ask(selcgi.socket, Ask(hello, "carol")).status == 200)
        (second,) = selcgi.workers()
        assert second != first
    assert selcgi.process.returncode == 0


def check_refused_fork(selcgi: Selcgi, path: str, way: str) -> None:
    answer = ask(selcgi.socket, Ask(path, "alice"))
    assert outcome(answer) == (503, True)
    assert answer.headers["Retry-After"] == "5"
    entry = last_entry(selcgi)
    assert (entry["step"], entry["exit"]) == ("guard" if "none" in way else "exec", "")
    assert "Resource temporarily unavailable" in entry["reason"]
    assert "LimitNPROC= and TasksMax=" in entry["fix"]


def test_a_fork_that_the_cgroup_refuses(serve: Serve, place: Place, way: str) -> None:
    selcgi, path = serve(way), place.script("hello.cgi", HELLO)
    with leaving_nothing(selcgi, place, way) as worker, no_more_processes(worker):
        check_refused_fork(selcgi, path, way)


def test_a_fork_that_its_own_limit_refuses(place: Place, way: str) -> None:
    """RLIMIT_NPROC binds every user but root. The others need not read where the tests have their packages."""
    run, base = place.folder / "run", Path(way.removeprefix("--cgroup="))
    run.mkdir()
    mine = [run, *([base, *base.glob("cgroup.*")] if base.exists() else [])]
    for path in mine:
        shutil.chown(path, OTHER)
    enter = f"echo 0 > {base}/cgroup.procs;" if base.exists() else ""
    words = ("setpriv", f"--reuid={OTHER}", "--clear-groups", "--inh-caps=+dac_read_search")
    program = ("sh", "-c", f'{enter} exec "$@"', "sh", *words, "--ambient-caps=+dac_read_search", *PROGRAM)
    options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--workers=1", way)
    selcgi = Selcgi(run, *options, f"--env=CGI_MARKS={place.marks}", program=program)
    hello = place.script("hello.cgi", HELLO)
    with leaving_nothing(selcgi, place, way) as worker:
        limit = ("setpriv", f"--reuid={OTHER}", "--clear-groups", "prlimit", f"--pid={worker}")
        subprocess.run([*limit, "--nproc=1:"], check=True)
        check_refused_fork(selcgi, hello, way)
        subprocess.run([*limit, "--nproc=1000:"], check=True)


def test_a_script_whose_user_has_all_its_processes_already(serve: Serve, place: Place, way: str) -> None:
    place.rules(f"alice user_webapp_t:s0 uid={OTHER} processes=1", "__anonymous__ anon_webapp_t")
    selcgi, path = serve(way), place.script("hello.cgi", HELLO)
    words = ["setpriv", f"--reuid={OTHER}", "--clear-groups", "sleep", "1000"]
    sleepers = [subprocess.Popen(words) for _ in range(2)]
    try:
        with leaving_nothing(selcgi, place, way):
            wait_until("the sleepers", lambda: all(Path(f"/proc/{one.pid}").stat().st_uid for one in sleepers))
            assert outcome(ask(selcgi.socket, Ask(path, "alice"))) == (503, True)
            entry = last_entry(selcgi)
            assert (entry["step"], entry["exit"]) == ("exec", "")
            assert "raise processes= in the rule" in entry["fix"]
    finally:
        for one in sleepers:
            one.kill()
            one.wait()


def memory(pid: int) -> int:
    """Bytes of address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("more", [0, 1 << 16])
def test_no_memory_for_the_worker(serve: Serve, place: Place, way: str, more: int) -> None:
    """Whatever fails for want of it, the client is not left waiting, and the worker goes on."""
    selcgi, path = serve(way), place.script("wc.cgi", HELLO + "wc -c\n")
    asked = [Ask(path, "alice", body=bytes(size)) for size in (0, 100_000, 4 << 20)]
    # More than a worker has by chance: its allocator keeps what earlier requests gave back.
    asked.append(Ask(path, "alice", params={f"HTTP_X_{number}": "x" * 60_000 for number in range(4)}))
    with leaving_nothing(selcgi, place, way) as worker:
        with limited(worker, resource.RLIMIT_AS, memory(worker) + more):
            answers = [ask(selcgi.socket, one) for one in asked]
        assert {answer.status for answer in answers} <= {200, 503, 0}
        assert not all(answer.complete and answer.status == 200 for answer in answers)
        assert "no memory is left" in selcgi.log() or "Cannot allocate memory" in selcgi.log()
