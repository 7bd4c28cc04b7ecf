"""The limits of a rule through the whole service, in enforcing mode: held by the kernel, and said in the log.

With a delegated cgroup, whose controllers this kernel has, and without: then each process is limited by itself.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site
from tests.enforcing.delegation import CGROUP, way_options
from tests.stack import Answer, Ask, Selcgi, ask

pytestmark = pytest.mark.enforcing

CONTEXT = "user_webapp_t:s0:c1"
PYTHON = "#!/usr/bin/python3\nimport os, time\n"
HEAD = "print('Content-Type: text/plain\\n', flush=True)\n"
HOG = PYTHON + "kept = bytearray(200 << 20)\n" + HEAD
BOMB = f"""{PYTHON}count = 0
try:
    while count < 50:
        if os.fork() == 0:
            time.sleep(1000)
        count += 1
except OSError:
    pass
{HEAD}print(count)
"""
SPINS = PYTHON + "if os.fork() == 0:\n    time.sleep(1000)\nwhile True: pass\n"
WRITES = "#!/bin/sh\nexec head -c 100000 /dev/zero > /srv/data/user/limit-long\n"
TELLS = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nnice\nulimit -n\ncat /proc/self/cgroup\n"


@contextmanager
def serving(way: str, options: str) -> Iterator[Selcgi]:
    site.write(site.MAP, f"alice {CONTEXT} {options}\n")
    try:
        with site.serving("--workers=1", "--timeout=60", *way_options(way)) as running:
            assert (way == "cgroup") == (str(CGROUP) in running.log())
            yield running
    finally:
        site.write(site.MAP, site.rules())


def tried(way: str, options: str, text: str) -> tuple[Answer, dict[str, Any]]:
    path = site.script("limited.cgi", text)
    with serving(way, options) as running:
        return ask(running.socket, Ask(str(path), "alice")), running.entry()


def test_a_memory_hog(way: str) -> None:
    answer, entry = tried(way, "memory=100M", HOG)
    assert answer.status == 502
    if way == "cgroup":
        assert (entry["step"], entry["exit"]) == ("limit", "signal 9")
        assert "needed more than memory=104857600 and were ended" in entry["reason"]
        assert entry["fix"].startswith("raise memory= in site.map:1")
    else:
        assert (entry["step"], entry["exit"]) == ("response", "1")
        assert b"MemoryError" in answer.stderr


def test_a_fork_bomb(way: str) -> None:
    """Its own processes alone count in a cgroup; by itself a process is told to count all of its Unix user."""
    answer, entry = tried(way, "processes=9", BOMB)
    if way == "cgroup":
        assert (answer.status, answer.text) == (200, "8\n")
        assert (entry["step"], entry["status"]) == ("limit", 200)
        assert "there were processes=9 of the request" in entry["reason"]
    else:
        assert answer.status == 200
        assert int(answer.text) < 8  # selcgi's own are of that user, too


def test_a_burner_of_processor_time(way: str) -> None:
    answer, entry = tried(way, "cpu=1", SPINS)
    assert (answer.status, entry["step"]) == (502, "limit")
    assert entry["exit"] in ("signal 9", "signal 24")  # soft limits are reset at a change of domain
    assert "more than cpu=1 seconds" in entry["reason"]


def test_a_long_file(way: str) -> None:
    answer, entry = tried(way, "file-size=64K", WRITES)
    assert (answer.status, entry["step"], entry["exit"]) == (502, "limit", "signal 25")
    long = Path("/srv/data/user/limit-long")
    assert long.stat().st_size == 65536
    long.unlink()


def test_nice_and_files(way: str) -> None:
    answer, _ = tried(way, "nice=5 files=100", TELLS)
    assert answer.text.splitlines()[:2] == ["5", "100"]


def test_processors(way: str) -> None:
    path = site.script("limited.cgi", TELLS)
    with serving(way, "cpus=0.5 memory=100M processes=20") as running:
        answer = ask(running.socket, Ask(str(path), "alice"))
        if way == "guard":
            assert (answer.status, running.entry()["step"]) == (500, "set_limits")
            assert "Delegate=yes" in running.entry()["fix"]
            return
        leaf = Path("/sys/fs/cgroup") / answer.text.splitlines()[-1].partition("::/")[2]
        names = ("cpu.max", "memory.max", "memory.oom.group", "pids.max")
        assert [(leaf / name).read_text() for name in names] == ["50000 100000\n", "104857600\n", "1\n", "20\n"]
        assert "CAP_SETUID" not in running.log()


def test_another_unix_user_without_the_capability(way: str) -> None:
    path = site.script("limited.cgi", TELLS)
    with serving(way, "uid=nobody") as running:
        assert ask(running.socket, Ask(str(path), "alice")).status == 500
        entry = running.entry()
    assert (entry["step"], entry["exit"]) == ("set_account", "")
    assert entry["reason"] == "selcgi can't become the Unix user nobody: Operation not permitted"
    assert "CAP_SETUID and CAP_SETGID" in entry["fix"]


def test_the_kernel_has_the_controllers() -> None:
    """Else half of this file would have shown nothing."""
    assert {"memory", "pids", "cpu"} <= set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    assert shutil.which("nice")
