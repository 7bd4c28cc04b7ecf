"""Log lines: one record is one line, whatever it holds; a log that fails is counted and stops nothing."""

import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.serve import log
from selcgi.serve.accesslog import Entry
from selcgi.settings import Settings


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """As it was, whatever set_up() made of it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level


def record(text: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("selcgi", logging.WARNING, __file__, 1, text, (), None)
    made.__dict__.update(more)
    return made


def test_every_line_of_a_json_log_is_json() -> None:
    lines = log.Lines(as_json=True)
    plain = json.loads(lines.format(record("two\nlines")))
    assert (plain["level"], plain["message"]) == ("warning", "two\nlines")
    request = json.loads(lines.format(record("", fields=Entry(id="abc", status=200).fields())))
    assert (request["id"], request["status"], request["level"]) == ("abc", 200, "warning")


def test_how_a_script_was_started_stands_last_and_only_of_one_that_shall_run_warm() -> None:
    assert str(Entry(status=200, reason="x", denied=("y",), launch="cold")).endswith(" denied=y launch=cold")
    usual = Entry(status=200, selinux="off", launch="warm")
    assert str(usual).endswith(" step=- selinux=off launch=warm")
    assert "launch" not in str(Entry(status=200)) + str(Entry(status=200).fields())


def test_a_traceback_stays_on_its_line() -> None:
    try:
        raise ValueError("bug")
    except ValueError:
        lines = log.Lines(as_json=False).format(record("worker failed", exc_info=sys.exc_info()))
    assert "ValueError: bug" in lines
    assert "\n" not in lines


def test_the_journal_learns_the_level() -> None:
    assert log.Lines(as_json=False, journal=True).format(record("text")) == "<4>WARNING text"


@pytest.mark.parametrize("as_json", [False, True])
def test_every_line_says_once_what_selcgi_goes_without(as_json: bool) -> None:
    lines = log.Lines(as_json)
    lines.note = "off"
    for one in (record("reload refused"), record("x", fields={"id": "abc", "stderr": "x"})):
        assert lines.format(one).count('"selinux": "off"' if as_json else " selinux=off") == 1
    entry = Entry(id="abc", selinux="off")
    assert lines.format(record(str(entry), fields=entry.fields())).count("selinux") == 1


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


def test_lines_that_a_full_disk_took_are_counted() -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    handler = log.LineHandler(os.open("/dev/full", os.O_WRONLY))
    handler.emit(record("one"))
    handler.emit(record("two"))
    assert handler.lost == 2
    os.dup2(write_end, handler._descriptor)
    handler.emit(record("three"))
    assert os.read(read_end, 1000) == b"2 lines before this one could not be written to the log\nthree\n"
    assert handler.lost == 0
    for descriptor in (read_end, write_end, handler._descriptor):
        os.close(descriptor)


def test_a_line_of_which_only_a_part_was_taken_is_lost_and_joins_no_other() -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    size = fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 8192)
    handler = log.LineHandler(write_end)
    handler.emit(record("x" * (size + 10)))
    assert os.read(read_end, size) == b"x" * size
    handler.emit(record("next"))
    assert os.read(read_end, 1000) == b"\n1 lines before this one could not be written to the log\nnext\n"
    os.close(read_end)
    os.close(write_end)


def test_a_file_that_cannot_be_opened_anew_is_kept(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log.set_up(Settings(log_file=tmp_path / "logs" / "log"))
    (tmp_path / "logs").rename(tmp_path / "away")
    log.reopen()
    log.LOG.warning("after")
    first, second = (tmp_path / "away" / "log").read_text().splitlines()
    assert "going on with the old file" in first
    assert second == "WARNING after"


def test_a_pipe_that_nobody_reads_stops_nothing() -> None:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    size = 65536  # pipe(7)
    handler = log.LineHandler(write_end)
    for _ in range(size):
        handler.emit(record("a line of a request"))
    assert handler.lost > size // 2
    taken = os.read(read_end, size)
    handler.emit(record("read again"))
    assert b"lines before this one could not be written to the log\nread again\n" in taken + os.read(read_end, size)
    os.close(read_end)
    os.close(write_end)
