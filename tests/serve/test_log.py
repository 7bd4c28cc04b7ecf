"""Log lines: one record is one line, whatever it holds; a log that fails is counted and stops nothing."""

import json
import logging
import os
import resource
import sys
from pathlib import Path

import pytest

from selcgi.serve import log
from selcgi.serve.accesslog import Entry
from selcgi.settings import Settings

pytestmark = pytest.mark.usefixtures("root_logger")


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


def test_lines_that_a_full_disk_took_are_counted() -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    handler = log.LineHandler(os.open("/dev/full", os.O_WRONLY), log.Lines(as_json=False))
    handler.emit(record("one"))
    handler.emit(record("two"))
    assert handler.lost == 2
    os.dup2(write_end, handler._descriptor)
    handler.emit(record("three"))
    assert (
        os.read(read_end, 1000) == b"WARNING 2 lines before this one could not be written to the log\nWARNING three\n"
    )
    assert handler.lost == 0
    for descriptor in (read_end, write_end, handler._descriptor):
        os.close(descriptor)


def test_a_line_of_which_only_a_part_was_taken_is_lost_and_joins_no_other(tmp_path: Path) -> None:
    """As by a disk that gets full: the size of the file has a limit."""
    path = tmp_path / "log"
    log.set_up(Settings(log_file=path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # Python ignores SIGXFSZ
    log.LOG.warning("a line of which only a part was taken")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.LOG.warning("next")
    lost = "WARNING 1 lines before this one could not be written to the log"
    assert path.read_text().splitlines() == ["WARNING a line of wh"[:20], lost, "WARNING next"]


def test_a_pipe_that_nobody_reads_stops_nothing() -> None:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    size = 65536  # pipe(7)
    handler = log.LineHandler(write_end, log.Lines(as_json=False))
    for _ in range(size):
        handler.emit(record("a line of a request"))
    assert handler.lost > size // 2
    taken = os.read(read_end, size)
    handler.emit(record("read again"))
    assert b"lines before this one could not be written to the log\nWARNING read again\n" in taken + os.read(
        read_end, size
    )
    os.close(read_end)
    os.close(write_end)
