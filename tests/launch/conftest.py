"""Launching for real: a cgroup of our own, scripts on disk, and a request that is driven to its end."""

import contextlib
import ctypes
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from selcgi.context import Context
from selcgi.errors import SelcgiError
from selcgi.launch.cold import Launcher
from selcgi.launch.running import Running
from selcgi.plan import Exit, Limits, Plan, Script
from selcgi.system.cgroups import Tree
from selcgi.system.leaves import Leaves
from selcgi.system.posixspawn import own_directory
from selcgi.system.processes import children, open_descriptors
from selcgi.system.selinux import Labels
from tests.fakes import FakeLabels

CONTEXT = Context("system_u", "system_r", "user_webapp_t", "s0:c1")
NAMES = "SELCGI_TEST"  # the variable that marks every process of a test
_DEADLINE = 20.0

PROBE = r"""#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "ids")) {
        uid_t r, e, s; gid_t a, b, c, list[64]; int i, n;
        getresuid(&r, &e, &s); getresgid(&a, &b, &c); n = getgroups(64, list);
        printf("%d %d %d %d %d %d", r, e, s, a, b, c);
        for (i = 0; i < n; i++) printf(" %d", list[i]);
    } else if (argc > 1 && !strcmp(argv[1], "sessions")) {
        long left = 400000; /* so that a failing test does not leave it for ever */
        puts("ready");
        fflush(stdout);
        while (left--) {
            setsid();
            if (fork() > 0) _exit(0);
        }
    } else {
        printf("%s", argv[0]);
    }
    return 0;
}
"""


@dataclass
class Outcome:
    """What became of a launch, seen from its request."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit: Exit | None = None
    error: SelcgiError | None = None


def hand_down(cgroup: Path) -> None:
    """Let those below have the controllers that limits need, as many as there are, as systemd does for Delegate=yes."""
    for name in {"memory", "pids", "cpu"}.intersection((cgroup / "cgroup.controllers").read_text().split()):
        (cgroup / "cgroup.subtree_control").write_text(f"+{name}")


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup that is selcgi's to use; this process is moved back when the test is over."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    point = next(Path(fields[4]) for fields in lines if fields[fields.index("-") + 1] == "cgroup2")
    base = point / f"selcgi-test-{os.getpid()}"
    hand_down(point)
    base.mkdir()
    try:
        yield base
    finally:
        (point / "cgroup.procs").write_bytes(b"0")
        (base / "cgroup.kill").write_bytes(b"1")
        for path in sorted((each for each in base.rglob("*") if each.is_dir()), reverse=True):
            path.rmdir()
        base.rmdir()


@pytest.fixture
def pool(delegated: Path) -> Iterator[Leaves]:
    """The leaves of a worker, which this process is."""
    tree = Tree(delegated)
    pool = tree.leaves(0)
    try:
        yield pool
    finally:
        pool.close()
        tree.remove()


@pytest.fixture(params=["leaf", "guard"])
def leaves(request: pytest.FixtureRequest) -> Leaves | None:
    """Both ways to end a request; None is the one without cgroups."""
    return request.getfixturevalue("pool") if request.param == "leaf" else None


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no process more, dead or alive, and no descriptor more than before."""
    own_directory()  # is opened once
    before = open_descriptors(), children()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: a launcher with guards made us one
    assert (open_descriptors(), children()) == before


@dataclass
class Bench:
    """A launcher and scripts for it."""

    leaves: Leaves | None
    folder: Path
    held: contextlib.ExitStack

    def launcher(self, labels: Labels | None = None) -> Launcher:
        return Launcher(labels or FakeLabels(), self.leaves)

    def plan(self, text: str | bytes, *, interpreter: str = "/bin/sh") -> Plan:
        """A plan for a script with this text; one without an interpreter is taken as a binary."""
        path = self.folder / "script.cgi"
        head = f"#!{interpreter}\n".encode() if interpreter else b""
        path.write_bytes(head + (text.encode() if isinstance(text, str) else text))
        path.chmod(0o755)
        return self.plan_of(path, interpreter)

    def plan_of(self, path: Path, interpreter: str = "") -> Plan:
        script = self.held.enter_context(contextlib.closing(open_script(path, interpreter)))
        environ = {NAMES.encode(): os.fsencode(self.folder), b"PATH": b"/usr/bin:/bin"}
        return Plan(script, (script.path,), environ, CONTEXT, Limits(), empty_body=True)

    def alive(self) -> list[int]:
        """Processes of this test's scripts, wherever they have gone."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_mine(pid)]

    def _is_mine(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"{NAMES}={self.folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False


@pytest.fixture
def bench(leaves: Leaves | None, tmp_path: Path) -> Iterator[Bench]:
    with contextlib.ExitStack() as held:
        made = Bench(leaves, tmp_path, held)
        yield made
        assert made.alive() == []


def open_script(path: Path, interpreter: str) -> Script:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    seen = os.fstat(descriptor)
    stamp = (seen.st_dev, seen.st_ino, seen.st_ctime_ns)
    return Script(os.fsencode(path), descriptor, directory, stamp, interpreter.encode(), "")


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static binary that tells who it is."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text(PROBE)
    subprocess.run([shutil.which("gcc") or "tcc", "-o", folder / "probe", folder / "probe.c"], check=True)
    return folder / "probe"


def wait(running: Running, until: Callable[[], bool], outcome: Outcome) -> None:
    """Poll and read as the relay does. The deadline only keeps a broken launch from hanging the tests."""
    deadline = time.monotonic() + _DEADLINE
    while not until():
        assert time.monotonic() < deadline, "nothing happened"
        select.select([running.stdout if running.wake < 0 else running.wake], [], [], 0.05)
        take(running, outcome)


def take(running: Running, outcome: Outcome) -> None:
    try:
        running.poll()
    except SelcgiError as error:
        outcome.error = error
    outcome.stdout += read(running.stdout)
    outcome.stderr += read(running.stderr)
    outcome.exit = running.exit


def read(descriptor: int) -> bytes:
    found = b""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, 65536):
            found += data
    return found


def conclude(running: Running, outcome: Outcome) -> None:
    """Kill what is left, wait until it is gone, close everything."""
    running.kill()
    take(running, outcome)
    wait(running, lambda: running.gone, outcome)
    take(running, outcome)
    for descriptor in (running.stdin, running.stdout, running.stderr):
        if descriptor >= 0:
            os.close(descriptor)
    running.close()


def complete(launcher: Launcher, plan: Plan) -> Outcome:
    """A whole request: launch, wait for the exit or an error, end it. What launch() raises is an outcome too."""
    outcome = Outcome()
    try:
        running = launcher.launch(plan)
    except SelcgiError as error:
        return replace(outcome, error=error)
    wait(running, lambda: running.exit is not None or outcome.error is not None, outcome)
    conclude(running, outcome)
    return outcome
