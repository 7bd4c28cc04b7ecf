"""What of a script's stderr is kept: bytes and lines are bounded, and what is lost is counted."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from selcgi.serve.accesslog import Entry
from selcgi.serve.exchange import Beginning
from selcgi.serve.stderr import StderrLog


def logged(caplog: pytest.LogCaptureFixture, *pieces: bytes, most_bytes: int = 100, most_lines: int = 3) -> list[str]:
    """The lines of the log; every byte that counts has gone to the web server, too."""
    caplog.set_level("INFO", "selcgi")
    sent: list[bytes] = []
    exchange = cast(Any, SimpleNamespace(write_stderr=sent.append, stderr=Beginning()))
    log = StderrLog(exchange, "id", most_bytes, most_lines)
    for piece in pieces:
        log.feed(piece)
    log.close()
    assert b"".join(sent) == b"".join(pieces)[:most_bytes]
    return [record.getMessage().removeprefix("stderr id=id ") for record in caplog.records]


def test_lines_however_they_come(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, b"on", b"e\ntwo\nth", b"ree") == ["'one'", "'two'", "'three'"]


def test_a_flood_of_lines_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, b"x\n" * 20, b"y\n" * 5 + b"z") == ["'x'"] * 3 + ["23 more lines were not logged"]


def test_a_flood_of_bytes_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, b"x" * 99, b"yz") == [f"'{'x' * 99}y'", "1 more bytes were dropped"]


def test_lines_with_nothing_in_them_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, b"\n" * 40, b" \r\n" * 5, b"x\n", b"  ") == ["'x'"]


@pytest.mark.parametrize(
    ("written", "complained"),
    [
        (b"PermissionError: [Errno 13] Permission denied: '/etc/x'\n", True),
        (b"x\ncat: /etc/x: Operation not permitted", True),
        (b"Error: EPERM: setpriority\n", True),
        (b"[Errno 130] Owner died, Errno 17, permission\n", False),
        (b"a\nb\nc\nd\nPermission denied\n", False),  # it is not logged any more
    ],
)
def test_what_is_logged_may_speak_of_a_refusal(written: bytes, complained: bool) -> None:
    entry = Entry()
    exchange = cast(Any, SimpleNamespace(write_stderr=lambda _: None, stderr=Beginning(), entry=entry))
    log = StderrLog(exchange, "id", 100, 3)
    log.feed(written)
    log.close()
    assert entry.complained is complained
