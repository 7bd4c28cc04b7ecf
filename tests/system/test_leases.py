"""Numbers lent by locks: to one at a time on the machine, and free only when the supervisor says so."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selcgi.errors import RegistryFailed
from selcgi.system.leases import Leases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases"


Forked = Callable[[Callable[[], object]], int]


@pytest.fixture
def forked() -> Iterator[Forked]:
    """Starts a process that does some work and then waits to be killed; its pid."""
    pids = []

    def start(work: Callable[[], object]) -> int:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os.write(writer, b"x")
                signal.pause()
            finally:
                os._exit(1)
        pids.append(pid)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        return pid

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            kill(pid)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_each_number_is_lent_once_the_lowest_first(path: Path) -> None:
    one, other = Leases(path, 4), Leases(path, 4)
    assert [one.take(), other.take(), one.take(), other.take(), one.take(), other.take()] == [0, 1, 2, 3, None, None]
    one.give_back(2)
    assert [other.take(), one.take()] == [2, None]
    other.give_back(1)
    one.give_back(0)
    assert [one.take(), one.take(), other.take()] == [0, 1, None]
    one.free()
    other.free()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_death_of_a_worker_frees_nothing_until_free(path: Path, forked: Forked) -> None:
    """The supervisor has the same open file; so has each worker that it forks later."""
    supervisors = Leases(path, 2)
    worker = forked(supervisors.take)
    forked(lambda: None)  # a worker that was started later
    other = Leases(path, 2)
    assert other.take() == 1
    kill(worker)
    assert other.take() is None
    supervisors.free()
    assert other.take() == 0
    other.free()


def test_the_death_of_all_who_hold_it_frees_it(path: Path, forked: Forked) -> None:
    pid = forked(lambda: Leases(path, 1).take())
    other = Leases(path, 1)
    assert other.take() is None
    kill(pid)
    assert other.take() == 0
    other.free()


def test_no_lock_at_all_is_no_number_that_is_lent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = Leases(path, 2)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "fcntl", refuse)
        with pytest.raises(RegistryFailed, match="no lock on"):
            leases.take()
    assert leases.take() == 0
    leases.free()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Leases(path, 1)
