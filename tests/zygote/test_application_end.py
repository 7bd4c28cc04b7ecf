"""How an answer of a WSGI application ends: whole, broken off, or with nobody there to take it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import TREE
from tests.zygote.test_application import ENVIRON, PROGRAM, served


def test_a_connection_of_the_applications_own_that_breaks_is_no_client_that_left(tmp_path: Path) -> None:
    """Else the answer would look whole."""
    text = """
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ConnectionResetError("the database")
"""
    done = served(tmp_path, text)
    assert done.returncode == -signal.SIGABRT
    assert b"ConnectionResetError: the database" in done.stderr


CLOSES = """
import sys
class Pieces:
    def __iter__(self):
        {pieces}
    def close(self):
        sys.stderr.write("closed\\n")
        {close}
def application(environ, start_response):
    start_response("200 OK", [])
    return Pieces()
"""


def test_an_answer_that_is_whole_stands_whatever_its_end_raises(tmp_path: Path) -> None:
    done = served(tmp_path, CLOSES.format(pieces="yield b'whole'", close="raise RuntimeError('on purpose')"))
    assert (done.returncode, done.stdout.partition(b"\r\n\r\n")[2]) == (1, b"whole")
    assert (done.stderr.count(b"closed\n"), done.stderr.count(b"Traceback")) == (1, 1), done.stderr
    assert done.stderr.endswith(b"RuntimeError: on purpose\n")


@pytest.mark.parametrize(("pieces", "status"), [("yield b'begun'; 1/0", -signal.SIGABRT), ("1/0; yield", 1)])
def test_what_an_answer_that_fails_raises_at_its_end_too_is_told_after_it(
    tmp_path: Path, pieces: str, status: int
) -> None:
    done = served(tmp_path, CLOSES.format(pieces=pieces, close="raise RuntimeError('on purpose')"))
    assert (done.returncode, done.stderr.count(b"closed\n")) == (status, 1)
    said = [line for line in done.stderr.splitlines() if b"Error: " in line]
    assert said == [b"ZeroDivisionError: division by zero", b"RuntimeError: on purpose"]
    assert b"During handling" not in done.stderr


def leave(folder: Path, text: str, first: int) -> tuple[int, bytes]:
    """Exit status and stderr of one whose client goes after the first bytes; then comes the end of its body."""
    path = folder / "app.wsgi"
    path.write_text(text)
    line = [sys.executable, "-c", PROGRAM, str(TREE), "application", str(path)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(line, env=ENVIRON, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.read(first)
        process.stdout.close()
        process.stdin.close()
        said: bytes = process.stderr.read()
    return process.returncode, said


def test_a_client_that_does_not_wait_for_the_error_page_is_no_error(tmp_path: Path) -> None:
    text = "def application(environ, start_response):\n    environ['wsgi.input'].read()\n    1/0\n"
    code, said = leave(tmp_path, text, 0)
    assert code == 1
    assert said.count(b"Traceback") == 1, said
    assert said.endswith(b"ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("first", [10, 200_000])
def test_a_client_that_leaves_is_no_error(tmp_path: Path, first: int) -> None:
    """What was returned is closed, once."""
    text = CLOSES.format(pieces="while True: yield b'x' * 4096", close="")
    assert leave(tmp_path, text, first) == (0, b"closed\n")
