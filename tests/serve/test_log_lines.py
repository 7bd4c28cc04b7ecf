"""What others write never makes a line of the log that is not selcgi's: each write(2) is one whole line, with its head.

A socket of datagrams is the log here, since it keeps apart what was written apart.
"""

import ast
import json
import logging
import re
import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selcgi.serve import log
from selcgi.serve.accesslog import Entry
from selcgi.serve.escapes import LINE_BYTES
from selcgi.serve.exchange import Beginning
from selcgi.serve.stderr import StderrLog

pytestmark = pytest.mark.usefixtures("root_logger")

FORGED = "INFO time=2026-01-01T00:00:00.000Z id=x listener=- user=mallory status=200 "
TEXTS = {
    "plain": "x" * 70_000,
    "forged": FORGED * 1000,
    "three bytes": "\u20ac" * 22_000,
    "four bytes": "\U0001f600" * 16_000,
    "controls": "\x1b\x7f\x00" * 22_000,
    "newlines": "\n" + FORGED + "\r\n\u2028\x85",
    "quotes": "\"'\\" * 22_000,
    "backslashes": "\\" * 65_000,
    "half a surrogate": "\udcff" * 20_000,
}


def as_read(text: str) -> str:
    """By who decodes what a script has written."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Written:
    """All that is logged, as it was written."""

    def __init__(self, as_json: bool) -> None:
        self.socket, self.log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.log.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.handler = log.LineHandler(self.log.fileno(), log.Lines(as_json, journal=True))
        logging.getLogger().addHandler(self.handler)
        logging.getLogger().setLevel("INFO")

    def lines(self) -> list[str]:
        """One of each write."""
        lines: list[str] = []
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                assert self.handler.lost == 0
                return lines
            assert len(data) <= select.PIPE_BUF
            line = data.decode("ascii")
            assert line.endswith("\n")
            assert line[:-1].isprintable()
            assert line[:3] in ("<3>", "<4>", "<6>")
            lines.append(line[3:-1])

    def close(self) -> None:
        self.socket.close()
        self.log.close()


@pytest.fixture
def text() -> Iterator[Written]:
    made = Written(as_json=False)
    yield made
    made.close()


@pytest.fixture
def as_json() -> Iterator[Written]:
    made = Written(as_json=True)
    yield made
    made.close()


def write_stderr(*lines: str) -> None:
    exchange = cast(Any, SimpleNamespace(write_stderr=lambda _: None, stderr=Beginning(), entry=Entry()))
    stderr = StderrLog(exchange, "id", 1 << 20, 500)
    stderr.feed("\n".join(lines).encode("utf-8", "surrogateescape"))
    stderr.close()


@pytest.mark.parametrize("name", TEXTS)
def test_a_script_writes_no_line_of_another(text: Written, name: str) -> None:
    """What is left is readable: no escape is cut in two."""
    write_stderr(TEXTS[name])
    for line in text.lines():
        assert line.startswith("INFO stderr id=id ")
        quoted, mark, left_out = line.removeprefix("INFO stderr id=id ").partition("...[")
        kept = ast.literal_eval(quoted + quoted[0] if mark else quoted)
        assert kept in as_read(TEXTS[name])
        assert name == "newlines" or re.fullmatch(r"\d+ more\]", left_out)


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_script_writes_is_a_value_in_json(as_json: Written, name: str) -> None:
    write_stderr(TEXTS[name])
    for line in map(json.loads, as_json.lines()):
        assert (set(line), line["id"]) == ({"time", "level", "id", "stderr"}, "id")
        kept, _, left_out = line["stderr"].partition("...[")
        assert kept in as_read(TEXTS[name])
        assert name == "newlines" or re.fullmatch(r"\d+ more\]", left_out)


NAMES = (
    "listener",
    "user",
    "auth",
    "rule",
    "context",
    "script",
    "exit",
    "killed_by",
    "step",
    "redirect",
    "reason",
    "fix",
)


@pytest.mark.parametrize("name", TEXTS)
def test_a_long_value_does_not_hide_the_others(text: Written, as_json: Written, name: str) -> None:
    """A script's name is the client's."""
    long = dict.fromkeys(NAMES, TEXTS[name])
    Entry(id="abc", status=500, method="GET", denied=(TEXTS[name],) * 9, launch="cold", **long).write()
    (line,) = text.lines()
    names = re.sub(r'"(?:[^"\\]|\\.)*"', "quoted", line).split(" ")
    assert names[0] == "ERROR"
    assert [one.partition("=")[0] for one in names[1:]] == list(Entry(**long, denied=("x",), launch="x").fields())
    assert {"id=abc", "status=500", "method=GET", "launch=cold"} < set(names)
    fields = json.loads(as_json.lines()[0])
    assert (fields["id"], fields["status"], len(fields["denied"])) == ("abc", 500, 9)
    assert name == "newlines" or all(re.search(r"\.\.\.\[\d+ more\]$", fields[one]) for one in NAMES)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("logger", ["selcgi", "asyncio"])
def test_whoever_logs_it_raw(text: Written, name: str, logger: str) -> None:
    text.handler.lines.note = "off"
    logging.getLogger(logger).warning("zygote failed: %s", TEXTS[name])
    (line,) = text.lines()
    assert line.startswith("WARNING zygote failed: ")
    assert line.endswith(" selinux=off")


def test_a_line_that_just_fits_is_not_cut(text: Written) -> None:
    room = LINE_BYTES - len("<6>INFO ")
    logging.getLogger().info("x" * room)
    logging.getLogger().info("x" * (room + 1))
    whole, cut = text.lines()
    assert whole == "INFO " + "x" * room
    assert len(whole) - 2 <= len(cut) <= len(whole)
    assert cut.endswith("x...[15 more]")


def test_the_error_of_a_long_traceback_is_told(text: Written) -> None:
    def there(level: int) -> None:  # two take turns: one that calls itself is not told in full
        back(level - 1)

    def back(level: int) -> None:
        if level < 0:
            raise ValueError("bug")
        there(level)

    try:
        there(30)
    except ValueError:
        logging.getLogger().exception("worker failed")
    (line,) = text.lines()
    assert line.startswith("ERROR worker failed: ValueError('bug'): ")
    assert line.endswith(" more]")


def test_a_user_called_like_nobody_is_told_apart(text: Written) -> None:
    Entry(id="abc", user="-").write()
    Entry(id="abc", user="").write()
    named, nobody = text.lines()
    assert ' user="-" ' in named
    assert " user=- " in nobody
