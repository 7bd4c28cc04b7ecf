"""The file of the log: who may read it, what it may not be, and that a rotation never loses or holds up anything."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.serve import log
from selcgi.settings import Settings

pytestmark = pytest.mark.usefixtures("root_logger")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


# What may be in a file's place, and what is said of it.
NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "It is no regular file"),
    "socket": (listen, "It is no regular file"),
    "link": (lambda path: path.symlink_to("victim"), "It is a symbolic link"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "It is a symbolic link"),
    "folder": (Path.mkdir, "Is a directory"),
}


def test_a_rotated_file_is_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.set_up(Settings(log_file=path))
    log.LOG.warning("first")
    path.rename(tmp_path / "log.1")
    log.LOG.warning("second")
    log.reopen()
    log.LOG.warning("third")
    assert (tmp_path / "log.1").read_text() == "WARNING first\nWARNING second\n"
    assert path.read_text() == "WARNING third\n"


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=f"{tmp_path}/missing/log: No such file"):
        log.set_up(Settings(log_file=tmp_path / "missing" / "log"))


def test_others_may_not_read_it(tmp_path: Path) -> None:
    """Whatever the umask was when selcgi was started, and after a rotation."""
    path = tmp_path / "log"
    before = os.umask(0)
    try:
        log.set_up(Settings(log_file=path))
        assert path.stat().st_mode & 0o777 == 0o640
        path.unlink()
        log.reopen()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_opened_anew_is_kept(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log.set_up(Settings(log_file=tmp_path / "logs" / "log"))
    (tmp_path / "logs").rename(tmp_path / "away")
    log.reopen()
    log.LOG.warning("after")
    first, second = (tmp_path / "away" / "log").read_text().splitlines()
    assert "going on with the old file" in first
    assert second == "WARNING after"


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_not_opened(tmp_path: Path, what: str) -> None:
    make, why = NO_FILES[what]
    make(tmp_path / "log")
    (tmp_path / "victim").touch()
    with pytest.raises(StartRefused, match=f"{tmp_path}/log: {why}.*regular file"):
        log.set_up(Settings(log_file=tmp_path / "log"))
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_does_not_replace_one(tmp_path: Path, what: str) -> None:
    path = tmp_path / "log"
    (tmp_path / "victim").touch()
    log.set_up(Settings(log_file=path))
    path.rename(tmp_path / "log.1")
    make, why = NO_FILES[what]
    make(path)
    log.reopen()
    log.LOG.warning("after")
    first, second = (tmp_path / "log.1").read_text().splitlines()
    assert f"{why}: '{path}'" in first
    assert second == "WARNING after"
    assert (tmp_path / "victim").read_text() == ""


def test_a_pipe_with_a_reader_is_no_file_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(StartRefused, match="It is no regular file"):
        log.set_up(Settings(log_file=tmp_path / "log"))
    os.close(reader)


@pytest.mark.parametrize("stream", [1, 2])
def test_the_streams_have_names(capfd: pytest.CaptureFixture[str], stream: int) -> None:
    log.set_up(Settings(log_file=Path(["/dev/stdout", "/dev/stderr"][stream - 1])))
    log.LOG.warning("before")
    log.reopen()
    log.LOG.warning("after")
    assert capfd.readouterr()[stream - 1] == "WARNING before\nWARNING after\n"


def test_a_log_may_be_thrown_away() -> None:
    log.set_up(Settings(log_file=Path("/dev/null")))
    log.LOG.warning("nobody reads this")
    log.reopen()
    assert [handler.lost for handler in logging.getLogger().handlers if isinstance(handler, log.LineHandler)] == [0]
