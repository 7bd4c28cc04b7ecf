"""Where a process comes from, read while it is there."""

import os
import subprocess

from selcgi.system.lineage import lineage

OWN = frozenset((os.getpid(),))


def test_a_child_has_its_parents_and_its_session() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as sh:
        assert sh.stdout is not None
        sleeping = int(sh.stdout.readline())
        found = lineage(sleeping, OWN)
        assert found is not None
        assert found.pids == (sleeping, sh.pid)
        with open(f"/proc/{sh.pid}/cgroup") as file:
            assert f"0::{found.cgroup}\n" in file.read() or not found.cgroup
        os.kill(sleeping, 9)
    assert lineage(sleeping, OWN) is None


def test_a_name_that_looks_like_fields_is_no_field() -> None:
    line = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 1 (', 0, 0, 0); print(flush=True); input()"
    with subprocess.Popen(
        ["python3", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = lineage(child.pid, OWN)
        assert found is not None
        assert found.pids == (child.pid,)  # its own session, not the 1 that the name spells
        child.communicate(b"\n")


def test_it_looks_at_nothing_above_the_end() -> None:
    found = lineage(os.getpid(), frozenset((os.getppid(),)))
    assert found is not None
    assert os.getpid() in found.pids
    assert len(found.pids) <= 2
