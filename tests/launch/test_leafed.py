"""What wakes the request of a script in a leaf, as long as nobody has asked for its end, and afterwards."""

import errno
import os
import select

import pytest

from selcgi.launch.leafed import LeafRunning
from tests.launch.conftest import Bench, Outcome, conclude, wait

LEAF = pytest.mark.parametrize("leaves", ["leaf"], indirect=True)


def none_left(*_: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@LEAF
def test_the_first_look_that_finds_no_end_begins_the_watch(bench: Bench) -> None:
    running = bench.launcher().launch(bench.plan("exec >&-; exec sleep 100"))
    assert running.wake == -1
    running.poll()
    assert running.wake >= 0
    assert not select.select([running.wake], [], [], 0)[0]
    os.kill(running.pid, 9)
    assert select.select([running.wake], [], [], 20)[0]
    running.poll()
    assert (running.exit and running.exit.signal, running.gone) == (9, True)
    conclude(running, Outcome())


@LEAF
def test_without_a_descriptor_for_it_each_look_tries_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    running = bench.launcher().launch(bench.plan("exec sleep 100"))
    assert isinstance(running, LeafRunning)
    with monkeypatch.context() as poor:
        poor.setattr(os, "pidfd_open", none_left)
        running.poll()
        assert running.wake == -1
    running.poll()
    assert running.wake >= 0
    conclude(running, Outcome())


@LEAF
def test_of_a_script_that_was_killed_the_leaf_tells_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pidfd_open", none_left)
    running = bench.launcher().launch(bench.plan("exec sleep 100"))
    running.kill()
    assert running.wake >= 0
    wait(running, lambda: running.gone, Outcome())
    conclude(running, Outcome())
