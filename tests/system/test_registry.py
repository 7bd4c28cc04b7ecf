"""The registry of categories: a number is given once, whatever ends a writer and however many write."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from selcgi.context import Band
from selcgi.errors import Overloaded, RegistryFailed, SelcgiError, StartRefused
from selcgi.system.ledger import Record, head_line, line_of
from selcgi.system.registry import Registry
from tests.stack import wait_until

BAND = Band(512, 1023)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "categories"


def opened(path: Path, band: Band = BAND, patience: float = 5.0) -> Registry:
    return Registry(path, band, patience)


def names(path: Path) -> dict[str, int]:
    return dict(opened(path).ledger.numbers)


def test_a_new_registry_is_made_for_its_owner_alone(path: Path) -> None:
    assert opened(path).number("alice") is None
    assert path.read_bytes() == head_line(BAND)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_laid_there_meanwhile_is_not_given_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By root, for whom the folder's owner has linked a file of root's under the registry's name."""
    roots = path.with_name("shadow")
    roots.write_text("root:secret\n")
    roots.chmod(0o600)
    given: list[int] = []

    def not_yet(_: Path) -> bool:
        if not path.exists():
            path.hardlink_to(roots)
        return False

    monkeypatch.setattr("selcgi.system.registry._is_there", not_yet)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda file, _uid, _gid: given.append(file))
    with pytest.raises(RegistryFailed, match=r"is no registry|is damaged"):
        opened(path)
    assert given == []
    assert roots.read_text() == "root:secret\n"


def test_numbers_are_given_in_order_and_stay(path: Path) -> None:
    registry = opened(path)
    assert [registry.assign(name) for name in ("alice", "bob", "alice", "a b\"'ü", "bob")] == [0, 1, 0, 2, 1]
    assert names(path) == {"alice": 0, "bob": 1, "a b\"'ü": 2}
    assert [(one.kind, one.number, one.name) for one in registry.records()][:2] == [
        ("assigned", 0, "alice"),
        ("assigned", 1, "bob"),
    ]


def test_another_process_sees_what_was_appended(path: Path) -> None:
    first, second = opened(path), opened(path)
    assert (first.assign("alice"), second.number("alice")) == (0, 0)
    assert (second.assign("bob"), first.number("bob"), first.assign("carol")) == (1, 1, 2)


def test_a_full_band_is_said_to_be_full(path: Path) -> None:
    registry = opened(path, Band(0, 2))
    assert [registry.assign(name) for name in "abc"] == [0, 1, 2]
    with pytest.raises(RegistryFailed, match=r"all 3 pairs of c0\.c2 are given"):
        registry.assign("d")
    assert registry.assign("a") == 0


def test_a_released_number_is_given_by_name_alone(path: Path) -> None:
    registry = opened(path)
    for name in ("alice", "bob"):
        registry.assign(name)
    registry.label("alice", "/srv/data/alice")
    assert registry.release("alice") == 0
    other = opened(path)
    assert (other.number("alice"), other.ledger.released, other.ledger.folders) == (None, {0}, {})
    assert other.assign("carol") == 2
    assert other.assign("alice") == 3
    assert registry.assign("dave", reuse=0) == 0
    assert opened(path).ledger.released == set()
    for reuse in (0, 7):
        with pytest.raises(RegistryFailed, match=f"number {reuse} is not released"):
            registry.assign("eve", reuse=reuse)
    with pytest.raises(RegistryFailed, match="'mallory' has no categories"):
        registry.release("mallory")


def test_folders_are_written_down_with_their_user(path: Path) -> None:
    registry = opened(path)
    registry.assign("alice")
    assert registry.label("alice", "/srv/data/a b") == 0
    assert opened(path).ledger.folders == {"/srv/data/a b": "alice"}


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "a\0", "\u202ename", "ü" * 129, "\udcff"])
def test_a_name_that_no_line_can_hold_is_refused(path: Path, name: str) -> None:
    registry = opened(path)
    with pytest.raises(RegistryFailed, match="can have categories"):
        registry.assign(name)
    assert path.read_bytes() == head_line(BAND)


def test_another_band_than_the_recorded_one_is_refused(path: Path) -> None:
    opened(path).assign("alice")
    with pytest.raises(RegistryFailed, match=r"pairs of c512\.c1023, not of c100\.c1023") as caught:
        opened(path, Band(100, 1023))
    assert "--user-categories c512.c1023" in caught.value.fix


def in_process(work: Callable[[], None]) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_eight_processes_at_once_give_each_name_one_number(path: Path) -> None:
    opened(path)
    users = [f"user-{number}" for number in range(60)]

    def work() -> None:
        registry = opened(path, patience=30.0)
        for name in users:
            registry.assign(name)

    workers = [in_process(work) for _ in range(8)]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert sorted(names(path).values()) == list(range(60))
    assert len(path.read_bytes().splitlines()) == 61


def test_writers_killed_at_any_moment_leave_a_registry_that_goes_on(path: Path) -> None:
    opened(path)
    seen: dict[str, int] = {}
    for attempt in range(12):

        def work(attempt: int = attempt) -> None:
            registry = opened(path)
            for number in range(10_000):
                registry.assign(f"user-{attempt}-{number}")

        enough = path.stat().st_size + 37 * attempt
        process = in_process(work)
        wait_until("it writes", lambda enough=enough: path.stat().st_size > enough)
        process.kill()
        process.join()
        now = names(path)
        assert seen.items() <= now.items()
        assert len(set(now.values())) == len(now)
        seen = now


def test_a_registry_that_others_could_have_changed_is_refused(path: Path, tmp_path: Path) -> None:
    opened(path).assign("alice")
    for mode in (0o620, 0o604, 0o660, 0o700):
        path.chmod(mode)
        with pytest.raises(RegistryFailed, match="is open to more than its owner"):
            opened(path)
    path.chmod(0o640)
    assert names(path) == {"alice": 0}
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(RegistryFailed, match="can't be read"):
        opened(link)
    tmp_path.chmod(0o777)
    with pytest.raises(StartRefused):
        opened(path)
    tmp_path.chmod(0o700)


def test_a_folder_that_may_not_be_searched_is_said(path: Path, tmp_path: Path) -> None:
    """As for another Unix user, or for root without the right to pass over modes."""
    opened(path).assign("alice")

    def work() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(SelcgiError, match="Permission denied"):
            opened(path)

    tmp_path.chmod(0o700)
    process = in_process(work)
    process.join(60)
    assert process.exitcode == 0


def test_what_happens_to_the_file_of_a_running_selcgi_is_refused(path: Path, tmp_path: Path) -> None:
    registry = opened(path)
    registry.assign("alice")
    copy = path.read_bytes()
    path.write_bytes(copy[:-5])
    with pytest.raises(RegistryFailed, match="shorter than it was"):
        registry.number("alice")
    path.write_bytes(copy)
    assert registry.number("alice") == 0
    other = tmp_path / "other"
    shutil.copy2(path, other)
    other.replace(path)
    with pytest.raises(RegistryFailed, match="another file than it was"):
        registry.number("alice")
    path.unlink()
    with pytest.raises(RegistryFailed, match="can't be looked at") as raised:
        registry.number("alice")
    assert "install -d -o selcgi" in raised.value.fix


def test_a_held_lock_delays_who_needs_the_file_and_nobody_else(path: Path) -> None:
    registry = opened(path)
    registry.assign("alice")
    registry.patience = 0.0
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert registry.number("alice") == 0
        with pytest.raises(Overloaded) as caught:
            registry.assign("bob")
        assert (caught.value.limit, caught.value.status) == ("categories", 503)
    assert registry.assign("bob") == 1


def test_a_line_is_not_read_before_its_writer_is_done(path: Path) -> None:
    reader = opened(path)
    reader.patience = 0.0
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line_of(Record("assigned", 0, "t", "alice")))
        file.flush()
        with pytest.raises(Overloaded):
            reader.number("alice")
    assert reader.number("alice") == 0


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_or_broken_disk_gives_no_number(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = opened(path)
    registry.assign("alice")
    whole = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, name, failing(errno.ENOSPC))
        with pytest.raises(RegistryFailed, match="No space left"):
            registry.assign("bob")
    assert path.read_bytes() == whole
    assert registry.assign("carol") == 1


def test_a_short_write_is_taken_back(path: Path) -> None:
    """The kernel's own: no file of this process may grow beyond that."""
    registry = opened(path)
    registry.assign("alice")
    whole = path.read_bytes()

    def work() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, resource.RLIM_INFINITY))
        with pytest.raises(SelcgiError):
            registry.assign("bob")

    process = in_process(work)
    process.join(60)
    assert process.exitcode == 0
    assert path.read_bytes() == whole
