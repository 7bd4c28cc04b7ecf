"""What Python's posix_spawn(3) lacks, on the real libc; being born in a cgroup, where that libc can do it."""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.system.posixspawn import Image, spawn_process, takes_newborn
from selcgi.system.processes import open_descriptors
from tests.launch import conftest

delegated = conftest.delegated
LIBC = tuple(map(int, (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1].split(".")))
CAN = LIBC >= (2, 39)
LIBC_OWN = 1 << 31 | 1 << 32  # signals 32 and 33, which glibc keeps for itself


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def cgroup(delegated: Path) -> Iterator[int]:
    """An empty cgroup below a delegated one."""
    (delegated / "inner").mkdir()
    descriptor = os.open(delegated / "inner", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    yield descriptor
    os.close(descriptor)
    (delegated / "inner").rmdir()


def shell(text: str, directory: Path, cgroup: int = -1) -> bytes:
    """What the shell wrote to 1 and 2."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    place = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        image = Image(b"/bin/sh", (b"sh", b"-c", text.encode()), {b"NAME": b"a=b"}, (null, theirs, theirs), place)
        pid = spawn_process(image, cgroup)
    finally:
        for descriptor in (theirs, null, place):
            os.close(descriptor)
    with os.fdopen(ours, "rb") as output:
        written = output.read()
    assert os.waitpid(pid, 0)[1] == 0
    return written


def test_it_starts_in_the_directory_and_this_process_stays(tmp_path: Path) -> None:
    before = Path.cwd()
    assert shell("pwd; echo $NAME", tmp_path) == f"{tmp_path}\na=b\n".encode()
    assert Path.cwd() == before


def test_it_leads_a_session_and_ignores_no_signal(tmp_path: Path) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        shown = shell("ps -o sid= -p $$; echo $$; grep -E 'Sig(Blk|Ign)' /proc/self/status", tmp_path).split()
    finally:
        signal.signal(signal.SIGHUP, old)
    assert shown[0] == shown[1]
    assert int(shown[3], 16) == 0
    assert int(shown[5], 16) & ~LIBC_OWN == 0


def test_a_failed_exec_is_an_error_and_leaves_nothing(null: int, tmp_path: Path) -> None:
    before = open_descriptors()
    place = os.open(tmp_path, os.O_PATH)
    with pytest.raises(FileNotFoundError):
        spawn_process(Image(b"/no/such/program", (b"x",), {}, (null, null, null), place))
    os.close(place)
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_nul_is_refused(null: int) -> None:
    before = Path.cwd()
    place = os.open("/", os.O_PATH | os.O_CLOEXEC)
    with pytest.raises(ValueError, match="null byte"):
        spawn_process(Image(b"/bin/true", (b"true", b"a\0b"), {}, (null, null, null), place))
    os.close(place)
    assert Path.cwd() == before


def test_a_process_that_can_not_come_back_is_at_the_top_and_loses_no_child(null: int, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    place = os.open("/usr", os.O_PATH | os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(hidden)
            hidden.chmod(0)
            os.setresuid(65534, 65534, 65534) if os.getuid() == 0 else None
            child = spawn_process(Image(b"/bin/true", (b"true",), {}, (null, null, null), place))
            code = int(os.waitpid(child, 0) != (child, 0) or Path.cwd() != Path("/"))
        finally:
            os._exit(code)
    os.close(place)
    assert os.waitpid(pid, 0) == (pid, 0)


def test_newborns_are_taken_just_where_the_libc_can(cgroup: int, null: int) -> None:
    assert takes_newborn(cgroup) is CAN
    assert takes_newborn(null) is False


def test_a_process_is_born_in_the_cgroup_and_this_one_stays(cgroup: int, tmp_path: Path) -> None:
    before = Path("/proc/self/cgroup").read_text()
    if CAN:
        assert b"/inner\n" in shell("cat /proc/self/cgroup", tmp_path, cgroup)
    else:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
            shell("cat /proc/self/cgroup", tmp_path, cgroup)
    assert Path("/proc/self/cgroup").read_text() == before
