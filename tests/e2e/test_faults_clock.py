"""The wall clock is set back, or forward, while requests run: deadlines and durations do not notice, time stamps do.

The clock of the machine is not touched. A library of a few lines, loaded before libc, adds a number that the test
writes into a file to whatever selcgi reads of the wall clock; the monotonic clock it leaves alone, as the kernel does.
A look at the sources makes sure that nothing else than a time stamp ever asks for the wall clock.
"""

import ast
import subprocess
from calendar import timegm
from pathlib import Path
from time import strptime

import pytest

from tests.e2e.conftest import Place
from tests.e2e.faults import leaving_nothing
from tests.e2e.test_ending import begin, request_bytes
from tests.e2e.test_service import options, until_end
from tests.stack import TREE, Ask, Selcgi, ask, to_answer, wait_until

SHIM = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *shift;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    shift = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}
int clock_gettime(clockid_t which, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec read;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &read);
    now->tv_sec = read.tv_sec;
    now->tv_usec = read.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}
"""
HOUR = 3600
WAITS = """#!/bin/sh
touch $CGI_MARKS/runs
until [ -e $CGI_MARKS/go ]; do sleep 0.05; done
printf 'Content-Type: text/plain\\n\\nwent\\n'
"""
# Who may ask for the wall clock, and what for.
STAMPS = {
    "launch/warm.py": 1,  # since when its interpreter starts: refusals of that are looked for in the kernel's records
    "serve/accesslog.py": 1,  # the field `time` of a line
    "serve/denials.py": 2,  # when a request ran: the kernel's records of refusals have its wall clock
    "serve/log.py": 1,  # the same, for a line that passes the machinery of logging by
    "serve/supervisor.py": 2,  # when the last reload was, for selcgi status
    "system/familiar.py": 1,  # whether a file was changed just now: files have the wall clock's times
    "system/registry.py": 2,  # since when a user has categories, and the import
    "zygote/fresh.py": 1,  # the start from which logging counts relativeCreated, by the wall clock
    "zygote/stamps.py": 2,  # whether a file changed while it was loaded: files have the wall clock's times
}


class Clock:
    """The wall clock as one selcgi sees it."""

    def __init__(self, folder: Path) -> None:
        self._file, source, library = folder / "shift", folder / "shim.c", folder / "shim.so"
        self.set(0)
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, source, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}

    def set(self, seconds: int) -> None:
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))


@pytest.fixture
def clock(place: Place) -> Clock:
    return Clock(place.folder)


def stamp(entry: dict[str, str]) -> int:
    return timegm(strptime(entry["time"][:19], "%Y-%m-%dT%H:%M:%S"))


def start(place: Place, clock: Clock, way: str, *more: str) -> Selcgi:
    marks = f"--env=CGI_MARKS={place.marks}"
    return Selcgi(place.folder, *options(place, marks, way, "--kill-grace=0.3", *more), environ=clock.environ)


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_a_deadline_passes_in_its_time(place: Place, clock: Clock, way: str, shift: int) -> None:
    path = place.script("waits.cgi", WAITS)
    selcgi = start(place, clock, way, "--timeout=1")
    with leaving_nothing(selcgi, place, way):
        with begin(selcgi, Ask(path, "alice")) as sock:
            wait_until("the script", (place.marks / "runs").exists)
            clock.set(shift)
            assert to_answer(until_end(sock), b"", True).status == 504
        wait_until("its line", lambda: len(selcgi.entries()) == 2)
        before, entry = selcgi.entries()
        assert entry["step"] == "total"
        assert 0 < entry["seconds"] < HOUR / 2
        assert abs(stamp(entry) - stamp(before) - shift) < HOUR / 2, "it did see the other time"


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_a_request_in_progress_is_not_cut_off(place: Place, clock: Clock, way: str, shift: int) -> None:
    """Nor a connection that is kept, nor one that is new."""
    path, hello = place.script("waits.cgi", WAITS), Ask(str(place.cgi / "hello.cgi"), "bob")
    selcgi = start(place, clock, way)
    with leaving_nothing(selcgi, place, way), begin(selcgi, hello, keep=True) as kept:
        assert b"hello" in until_end(kept)
        with begin(selcgi, Ask(path, "alice")) as sock:
            wait_until("the script", (place.marks / "runs").exists)
            clock.set(shift)
            (place.marks / "go").touch()
            assert b"went" in until_end(sock)
        assert ask(selcgi.socket, hello).text == "hello\n"
        kept.sendall(request_bytes(hello, keep=True))
        assert b"hello" in until_end(kept)
        wait_until("the lines", lambda: len(selcgi.entries()) == 5)
        assert {entry["status"] for entry in selcgi.entries()} == {200}
        assert all(0 < entry["seconds"] < HOUR / 2 for entry in selcgi.entries())


def test_nothing_but_a_stamp_asks_for_the_wall_clock() -> None:
    found: dict[str, int] = {}
    for path in (TREE / "selcgi").rglob("*.py"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        wall = [name for name in calls if name in ("time.time", "time.time_ns") or "datetime" in name]
        if wall:
            found[str(path.relative_to(TREE / "selcgi"))] = len(wall)
    assert found == STAMPS
