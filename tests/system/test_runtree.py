"""The cgroups of `selcgi run`: one's own, and an end for what killed runs left."""

import os
import signal
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.system.cgroups import Tree, own_cgroup
from selcgi.system.processes import quiet_fork
from selcgi.system.runtree import RunTree, open_run_tree
from tests.launch import conftest
from tests.system.test_cgroups import sleeping

delegated = conftest.delegated


@pytest.fixture
def gone() -> int:
    """The number of a process that is no more."""
    pid = quiet_fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def member(path: Path) -> int:
    path.mkdir(parents=True)
    pid = sleeping()
    (path / "cgroup.procs").write_text(str(pid))
    return pid


def test_a_run_leaves_nothing(delegated: Path) -> None:
    before = own_cgroup()
    tree = open_run_tree(str(delegated))
    assert tree is not None
    tree.leaves(0).close()
    assert own_cgroup() == delegated / f"run-{os.getpid()}" / "worker-0" / "home"
    tree.remove()
    assert own_cgroup() == before
    assert list(delegated.glob("*/")) == []


def test_a_run_beside_a_service_and_another_run(delegated: Path) -> None:
    service = member(delegated / "worker-0" / "leaf-0")
    other = member(delegated / f"run-{os.getppid()}" / "worker-0" / "home")
    run = RunTree(delegated)
    run.remove()
    for pid in (service, other):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it lives"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_service_does_not_end_a_run(delegated: Path) -> None:
    run = member(delegated / "run-1" / "worker-0" / "leaf-0")
    Tree(delegated).remove()
    assert os.waitpid(run, os.WNOHANG) == (0, 0), "it lives"
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)


def test_what_a_killed_run_left_is_ended_by_the_next(delegated: Path, gone: int) -> None:
    left = [member(delegated / f"run-{pid}" / "worker-0" / "leaf-0") for pid in (gone, os.getpid())]
    RunTree(delegated).remove()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in left] == [-signal.SIGKILL] * 2
    assert list(delegated.glob("*/")) == []


def test_a_cgroup_that_takes_no_more_is_a_named_error(delegated: Path) -> None:
    (delegated / "cgroup.max.descendants").write_text("0")
    with pytest.raises(StartRefused, match="cannot make the cgroup"):
        RunTree(delegated)
    (delegated / "cgroup.max.descendants").write_text("1")
    with pytest.raises(StartRefused, match="cannot set up the cgroup"):
        RunTree(delegated)
    assert list(delegated.glob("*/")) == []
