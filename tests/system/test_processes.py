"""Processes and descriptors of the real kernel."""

import os
import signal
import subprocess
import sys

import pytest

from selcgi.system import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


def fork_and(code: int = 0, *, pause: bool = False) -> int:
    pid = processes.quiet_fork()
    if pid == 0:
        if pause:
            signal.pause()
        os._exit(code)
    return pid


def test_reap_tells_code_signal_and_usage() -> None:
    ended = processes.reap(fork_and(5), wait=True)
    assert ended is not None
    assert (ended.code, ended.signal) == (5, None)
    assert ended.maxrss_bytes > 1 << 20


def test_reap_does_not_wait_unless_told() -> None:
    pid = fork_and(pause=True)
    assert processes.reap(pid) is None
    os.kill(pid, signal.SIGKILL)
    ended = processes.reap(pid, wait=True)
    assert ended is not None
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)
    with pytest.raises(ChildProcessError):
        processes.reap(pid)


def test_quiet_fork_leaves_no_handler_and_no_mask_in_the_child() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    called: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: called.append(number))
    wakeup = signal.set_wakeup_fd(write_end)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            pid = processes.quiet_fork()
            if pid == 0:
                os.kill(os.getpid(), number)
                os._exit(0)
            ended = processes.reap(pid, wait=True)
            assert ended is not None
            assert ended.signal == number
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.set_blocking(read_end, False)
        with pytest.raises(BlockingIOError):
            os.read(read_end, 1)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGUSR1, before)
        os.close(read_end)
        os.close(write_end)
    assert not called


def test_group_signal_reaches_a_session_and_forgives_an_absent_one() -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as leader:
        processes.signal_group(leader.pid, signal.SIGTERM)
        assert leader.wait() == -signal.SIGTERM
    processes.signal_group(leader.pid, signal.SIGTERM)


def test_open_descriptors_are_those_that_are_open() -> None:
    before = processes.open_descriptors()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    assert processes.open_descriptors() - before == {descriptor}
    os.close(descriptor)
    assert processes.open_descriptors() == before


def test_close_all_but_keeps_what_it_should() -> None:
    opened = _, second, third, fourth, _ = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    pid = processes.quiet_fork()
    if pid == 0:
        processes.close_all_but([fourth, 0, second, third, second])
        left = processes.open_descriptors()
        os._exit(0 if left == {0, 1, 2, second, third, fourth} else 1)
    for descriptor in opened:
        os.close(descriptor)
    assert processes.reap(pid, wait=True).code == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("missing", [(0,), (1, 2), (0, 1, 2), ()])
def test_standard_streams_are_occupied(missing: tuple[int, ...]) -> None:
    pid = processes.quiet_fork()
    if pid == 0:
        before = processes.open_descriptors()
        for descriptor in missing:
            os.close(descriptor)
        processes.occupy_standard_streams()
        os._exit(0 if processes.open_descriptors() == before else 1)
    assert processes.reap(pid, wait=True).code == 0  # type: ignore[union-attr]


def test_descriptors_are_kept_from_programs() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    processes.keep_descriptors()
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


TREE = (
    "import os, signal, sys\nfor _ in range(3):\n"
    "    if not os.fork():\n        os.setsid()\n        os.fork()\n        signal.pause()\n"
)


def test_end_children_ends_whole_trees_but_spares_a_child() -> None:
    pid = processes.quiet_fork()
    if pid == 0:
        code = 1
        try:
            processes.set_child_subreaper()
            spared = fork_and(pause=True)
            tree = processes.quiet_fork()
            if tree == 0:
                exec(TREE)  # its own children are left behind when it ends
                os._exit(0)
            processes.reap(tree, wait=True)
            ended = processes.end_children(spare={spared})
            left = processes.children()
            os.kill(spared, signal.SIGKILL)
            code = 0 if ended and left == [spared] else 2
        finally:
            os._exit(code)
    assert processes.reap(pid, wait=True).code == 0  # type: ignore[union-attr]


def test_strangers_are_reaped_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may come without end."""
    monkeypatch.setattr(processes, "_STRANGERS", 2)
    pids = {fork_and(0) for _ in range(5)}
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    left = []
    for _ in range(3):
        processes.reap_strangers(())
        left.append(len(pids.intersection(processes.children())))
    assert left == [3, 1, 0]
