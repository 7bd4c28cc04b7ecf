"""Cgroups of the real kernel: where selcgi's are, who is in them, and that none is left."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selcgi.errors import LaunchFailed, StartRefused
from selcgi.system.cgroups import Tree, find_directory, open_tree, own_cgroup, unfit
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.processes import open_descriptors, quiet_fork
from tests.launch import conftest

delegated = conftest.delegated

HYBRID = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"


@pytest.fixture
def tree(delegated: Path) -> Iterator[Tree]:
    made = Tree(delegated)
    yield made
    made.remove()


@pytest.fixture
def leaves(tree: Tree) -> Iterator[Leaves]:
    pool = tree.leaves(0)
    yield pool
    pool.close()


@contextmanager
def member(leaf: Leaf) -> Iterator[int]:
    """A process in the leaf that does nothing, reaped at the end."""
    with leaf:
        pid = sleeping()
    try:
        yield pid
    finally:
        leaf.kill()
        os.waitpid(pid, 0)


def sleeping() -> int:
    pid = quiet_fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def wait_woken(leaf: Leaf) -> None:
    assert select.select([leaf.wake], [], [], 20)[0], "nothing happened"


@pytest.mark.parametrize(
    ("own", "mounts", "found"),
    [
        ("/", [V1, HYBRID], "/sys/fs/cgroup/unified"),
        ("/system.slice/selcgi.service", [HYBRID], "/sys/fs/cgroup/unified/system.slice/selcgi.service"),
        ("/a/b", ["30 24 0:26 /a /sys/fs/cgroup ro shared:4 - cgroup2 cgroup rw"], "/sys/fs/cgroup/b"),
        ("/a", ["30 24 0:26 /a /sys/fs/cgroup ro shared:4 master:1 - cgroup2 cgroup rw"], "/sys/fs/cgroup"),
        ("/ab", ["30 24 0:26 /a /sys/fs/cgroup ro - cgroup2 cgroup rw"], None),
        ("/", ["30 24 0:26 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw"], None),
        ("/x", ["30 24 0:26 / /mnt/a\\040b rw - cgroup2 cgroup rw"], "/mnt/a b/x"),
        ("/x", [V1], None),
        ("/x", ["", "torn"], None),
    ],
)
def test_directory_is_found_through_the_mounts(own: str, mounts: list[str], found: str | None) -> None:
    assert find_directory(own, mounts) == (found and Path(found))


def test_own_cgroup_follows_the_process(delegated: Path) -> None:
    (delegated / "cgroup.procs").write_bytes(b"0")
    assert own_cgroup() == delegated


def test_what_is_unfit_is_named(delegated: Path, tmp_path: Path) -> None:
    assert unfit(tmp_path) == "is no cgroup v2 directory"
    assert "root of the hierarchy" in unfit(delegated.parent)
    assert unfit(delegated) == ""
    (delegated / "below").mkdir()
    (delegated / "below" / "cgroup.type").write_text("threaded")
    assert unfit(delegated / "below") == "has no supervisor of its own"


def test_a_path_is_used_or_refused(delegated: Path, tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="is no cgroup v2 directory"):
        open_tree(str(tmp_path))
    with pytest.raises(StartRefused, match="root of the hierarchy"):
        open_tree(str(delegated.parent))
    tree = open_tree(str(delegated))
    assert tree is not None
    assert tree.path == delegated
    tree.remove()


def test_none_is_none() -> None:
    assert open_tree("none") is None


def test_auto_takes_only_what_was_delegated(delegated: Path) -> None:
    below = delegated / "unit"
    below.mkdir()
    (below / "cgroup.procs").write_bytes(b"0")
    assert open_tree("auto") is None
    os.setxattr(below, "trusted.delegate", b"1")
    tree = open_tree("auto")
    assert tree is not None
    assert tree.path == below
    assert own_cgroup() == below / "supervisor"
    tree.remove()
    assert own_cgroup() == below
    assert list(below.glob("*/")) == []


def test_auto_never_takes_the_root_of_the_machine(delegated: Path) -> None:
    (delegated.parent / "cgroup.procs").write_bytes(b"0")
    assert open_tree("auto") is None


def test_two_trees_do_not_share_a_base(tree: Tree) -> None:
    with pytest.raises(StartRefused, match="another selcgi"):
        Tree(tree.path)


def test_what_a_killed_selcgi_left_is_ended_first(delegated: Path) -> None:
    left = delegated / "worker-3" / "leaf-0"
    left.mkdir(parents=True)
    pid = sleeping()
    (left / "cgroup.procs").write_text(str(pid))
    tree = Tree(delegated)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not left.parent.exists()
    tree.remove()


def test_worker_is_in_the_leaf_only_while_it_spawns(tree: Tree, leaves: Leaves) -> None:
    leaf = leaves.lease()
    assert own_cgroup() == tree.path / "worker-0" / "home"
    with leaf:
        assert own_cgroup() == leaf.path
    assert own_cgroup() != leaf.path
    assert not leaf.populated()
    with pytest.raises(ZeroDivisionError), leaf:
        _ = 1 / 0
    assert own_cgroup() != leaf.path
    leaves.give_back(leaf)


def test_leaf_tells_of_the_end_of_a_process_it_watches(leaves: Leaves) -> None:
    leaf = leaves.lease()
    with member(leaf) as pid:
        assert leaf.populated()
        pidfd = os.pidfd_open(pid)
        leaf.watch(pidfd)
        os.kill(pid, signal.SIGKILL)
        wait_woken(leaf)
        os.close(pidfd)
    leaves.give_back(leaf)


def test_leaf_tells_when_it_has_become_empty(leaves: Leaves) -> None:
    leaf = leaves.lease()
    with member(leaf):
        assert leaf.populated()
        leaf.kill()
        while leaf.populated():
            wait_woken(leaf)
    leaves.give_back(leaf)


def test_a_notice_is_given_once(leaves: Leaves) -> None:
    leaf = leaves.lease()
    with member(leaf):
        wait_woken(leaf)
        assert leaf.populated()
        assert select.select([leaf.wake], [], [], 0)[0] == []
    leaves.give_back(leaf)


def test_leaves_are_used_again(leaves: Leaves) -> None:
    first, second = leaves.lease(), leaves.lease()
    assert first.path != second.path
    leaves.give_back(first)
    assert leaves.lease() is first
    for leaf in (first, second):
        leaves.give_back(leaf)


def test_a_leaf_where_a_kill_was_is_not_used_again(leaves: Leaves) -> None:
    """Even where this process bears nothing in leaves, its zygotes do."""
    leaf = leaves.lease()
    leaf.kill()
    leaves.give_back(leaf)
    assert not leaf.path.exists()
    other = leaves.lease()
    assert other is not leaf
    leaves.give_back(other)


def test_a_leaf_with_a_process_is_not_leased(leaves: Leaves) -> None:
    leaf = leaves.lease()
    with member(leaf) as pid:
        leaves.give_back(leaf)
        other = leaves.lease()
        assert other is not leaf
        os.kill(pid, signal.SIGKILL)
        while leaf.populated():
            wait_woken(leaf)
        assert leaves.lease() is leaf
    for each in (leaf, other):
        leaves.give_back(each)


def test_a_leaf_that_an_earlier_worker_left_populated_is_passed_over(tree: Tree) -> None:
    path = tree.path / "worker-0"
    (path / "leaf-0").mkdir(parents=True)
    pid = sleeping()
    (path / "leaf-0" / "cgroup.procs").write_text(str(pid))
    pool = tree.leaves(0)
    leaf = pool.lease()
    assert leaf.path.name == "leaf-1"
    pool.give_back(leaf)
    pool.close()
    (tree.path / "supervisor" / "cgroup.procs").write_bytes(b"0")
    assert tree.kill_worker(0)
    os.waitpid(pid, 0)


def test_no_leaf_is_a_named_error(tree: Tree, leaves: Leaves) -> None:
    (tree.path / "worker-0" / "cgroup.max.descendants").write_text("1")  # home is the one
    with pytest.raises(LaunchFailed) as raised:
        leaves.lease()
    assert raised.value.step == "lease_leaf"


def test_kill_worker_ends_its_requests_and_removes_it(tree: Tree) -> None:
    pid = quiet_fork()
    if pid == 0:
        with tree.leaves(7).lease():
            sleeping()
        os._exit(0)
    os.waitpid(pid, 0)
    assert "populated 1" in (tree.path / "worker-7" / "cgroup.events").read_text()
    assert tree.kill_worker(7)
    assert not (tree.path / "worker-7").exists()
    assert tree.kill_worker(7)


def test_nothing_is_left_open_or_on_the_machine(delegated: Path) -> None:
    before = open_descriptors(), own_cgroup()
    tree = Tree(delegated)
    pool = tree.leaves(0)
    for leaf in [pool.lease() for _ in range(3)]:
        pool.give_back(leaf)
    pool.close()
    tree.remove()
    assert (open_descriptors(), own_cgroup()) == before
    assert list(delegated.glob("*/")) == []
