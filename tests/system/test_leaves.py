"""Which leaf a request gets, and where the worker is meanwhile."""

import os

import pytest

from selcgi.plan import Limits
from selcgi.system.cgroups import Tree, own_cgroup
from selcgi.system.leaves import Leaves
from tests.system import test_cgroups
from tests.system.test_cgroups import member, sleeping

delegated, tree, leaves = test_cgroups.delegated, test_cgroups.tree, test_cgroups.leaves


@pytest.fixture
def moving(leaves: Leaves, monkeypatch: pytest.MonkeyPatch) -> Leaves:
    """As where the libc lets nothing be born in a cgroup."""
    monkeypatch.setattr(leaves, "_newborn", False)
    return leaves


def test_worker_waits_alone_in_the_leaf_of_its_next_request(moving: Leaves) -> None:
    first = moving.lease()
    with member(first) as pid:
        waits = own_cgroup()
        second, third = moving.lease(), moving.lease()
        assert len({first.path, second.path, third.path}) == 3, "no leaf is two requests'"
        assert second.path == waits
        assert (second.path / "cgroup.procs").read_text().split() == [str(os.getpid())]
        assert (first.path / "cgroup.procs").read_text().split() == [str(pid)]
        for leaf in (third, second):
            with leaf:
                assert own_cgroup() == leaf.path, "wherever it waits, it is where it starts what shall be there"
    for leaf in (first, second, third):
        moving.give_back(leaf)


def test_a_leaf_in_which_nothing_was_started_is_the_next_requests(moving: Leaves) -> None:
    with moving.lease():
        pass
    waits = moving.lease()
    moving.give_back(waits)
    assert moving.lease() is waits
    assert own_cgroup() == waits.path
    moving.give_back(waits)


def test_worker_goes_home_when_there_is_no_other_leaf(tree: Tree, moving: Leaves) -> None:
    (tree.path / "worker-0" / "cgroup.max.descendants").write_text("2")
    leaf = moving.lease()
    with member(leaf):
        assert own_cgroup() == tree.path / "worker-0" / "home"
    moving.give_back(leaf)


def test_a_leaf_that_the_worker_leaves_for_one_leased_apart_is_the_next_requests(moving: Leaves) -> None:
    """As for a fresh program in place of a warm one; none is lost."""
    first = moving.lease()
    with member(first):
        waits = own_cgroup()
        apart = moving.lease_apart()
        with member(apart):
            assert own_cgroup() == waits
            assert moving.lease().path == waits
    for leaf in (first, apart):
        moving.give_back(leaf)


@pytest.mark.parametrize("limits", [Limits(), Limits(processes=99)])
def test_what_was_put_into_a_free_leaf_is_killed_and_nobody_has_it(leaves: Leaves, limits: Limits) -> None:
    """By a warm interpreter, which has had its directory."""
    leaf, _ = leaves.lease_for(limits)
    assert leaf.birthplace() >= 0
    leaves.give_back(leaf)
    pid = sleeping()
    leaf.take(pid)
    another, _ = leaves.lease_for(limits)
    assert another.path != leaf.path
    os.waitpid(pid, 0)
    leaves.give_back(another)
