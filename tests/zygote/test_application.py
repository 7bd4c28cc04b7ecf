"""PEP 3333 in a process of its own: what the application is given, what comes out as a CGI response."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selcgi.errors import LoadFailed
from selcgi.zygote import application
from tests.stack import TREE

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote import application
descriptor = os.open(sys.argv[3], os.O_RDONLY)
served = application.load(sys.argv[2], sys.argv[3], descriptor)
sys.exit(application.run(served, os.environ))
"""
ENVIRON = {
    "REQUEST_METHOD": "POST",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "/app",
    "QUERY_STRING": "a=b",
    "CONTENT_LENGTH": "11",
    "CONTENT_TYPE": "text/plain",
}
OK = 'start_response("200 OK", [("Content-Type", "text/plain")])'


def served(
    folder: Path, text: str, body: bytes = b"", name: str = "application", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    path = folder / "app.wsgi"
    path.write_text(text)
    line = [sys.executable, "-c", PROGRAM, str(TREE), name, str(path)]
    return subprocess.run(line, input=body, capture_output=True, check=False, timeout=60, env={**ENVIRON, **environ})


def answered(folder: Path, body_of_application: str, body: bytes = b"", **environ: str) -> tuple[bytes, bytes]:
    """Head and body; nothing on stderr."""
    text = "import sys\ndef application(environ, start_response):\n" + "".join(
        f"    {line}\n" for line in body_of_application.splitlines()
    )
    done = served(folder, text, body, **environ)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    head, _, rest = done.stdout.partition(b"\r\n\r\n")
    return head, rest


def test_it_is_valid(tmp_path: Path) -> None:
    text = f"""
from wsgiref.validate import validator
def simple(environ, start_response):
    body = environ["wsgi.input"].read(11)
    {OK}
    return [body.upper()]
application = validator(simple)
"""
    done = served(tmp_path, text, b"hello world")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\r\n\r\nHELLO WORLD")


def test_one_piece_has_a_length(tmp_path: Path) -> None:
    head, body = answered(tmp_path, f"{OK}\nreturn [b'hello world']")
    assert b"Content-Length: 11" in head
    assert body == b"hello world"


def test_what_it_is_told(tmp_path: Path) -> None:
    names = ("wsgi.version", "wsgi.url_scheme", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "PATH_INFO")
    text = f"{OK}\nreturn [repr([environ[name] for name in {names}]).encode()]"
    assert answered(tmp_path, text)[1] == b"[(1, 0), 'http', False, True, True, '']"
    assert answered(tmp_path, text, HTTPS="on")[1] == b"[(1, 0), 'https', False, True, True, '']"


def test_names_are_latin_1(tmp_path: Path) -> None:
    text = f'{OK}\nreturn [environ["PATH_INFO"].encode("latin-1")]'
    path = "/gr\u00fcn"
    assert answered(tmp_path, text, PATH_INFO=path)[1] == os.fsencode(path)


@pytest.mark.parametrize(
    ("reads", "seen"),
    [
        ("environ['wsgi.input'].read(5)", b"one\nt"),
        ("environ['wsgi.input'].readline()", b"one\n"),
        ("b'|'.join(environ['wsgi.input'])", b"one\n|two\n|last"),
        ("b'|'.join(environ['wsgi.input'].readlines())", b"one\n|two\n|last"),
        ("environ['wsgi.input'].read()", b"one\ntwo\nlast"),
    ],
)
def test_how_it_reads(tmp_path: Path, reads: str, seen: bytes) -> None:
    assert answered(tmp_path, f"{OK}\nreturn [{reads}]", b"one\ntwo\nlast")[1] == seen


def test_the_headers_wait_for_the_first_piece_and_can_be_taken_back(tmp_path: Path) -> None:
    text = f"""{OK}
def pieces():
    yield b""
    try:
        1/0
    except ZeroDivisionError:
        start_response("503 Later", [("Content-Type", "text/plain")], sys.exc_info())
    yield b"sorry"
return pieces()"""
    head, body = answered(tmp_path, text)
    assert head.startswith(b"Status: 503 Later\r\n")
    assert body == b"sorry"


def test_write_and_close(tmp_path: Path) -> None:
    text = f"""
class Pieces:
    def __iter__(self):
        yield b" and returned"
    def close(self):
        sys.stderr.write("closed")
def application(environ, start_response):
    write = {OK}
    write(b"written")
    return Pieces()
import sys
"""
    done = served(tmp_path, text)
    assert done.stdout.endswith(b"\r\n\r\nwritten and returned")
    assert done.stderr == b"closed"


def test_nothing_at_all_has_a_length(tmp_path: Path) -> None:
    head, body = answered(tmp_path, f"{OK}\nreturn []")
    assert b"Content-Length: 0" in head
    assert body == b""


@pytest.mark.parametrize(
    ("status", "method", "pieces", "length"),
    [
        ("204 No Content", "GET", "[]", None),
        ("304 Not Modified", "GET", "[b'']", None),
        ("200 OK", "HEAD", "[]", None),
        ("200 OK", "HEAD", "[b'four']", b"4"),
        ("200 OK", "GET", "[b'']", b"0"),
    ],
)
def test_the_length_of_an_answer_without_a_body(
    tmp_path: Path, status: str, method: str, pieces: str, length: bytes | None
) -> None:
    text = f'start_response("{status}", [("Content-Type", "text/plain")])\nreturn {pieces}'
    head, _ = answered(tmp_path, text, REQUEST_METHOD=method)
    told = [line.partition(b": ")[2] for line in head.splitlines() if line.startswith(b"Content-Length")]
    assert told == ([] if length is None else [length])


def test_nothing_is_written_past_the_length_that_was_told(tmp_path: Path) -> None:
    text = 'start_response("200 OK", [("Content-Length", "4")])(b"abc")\nreturn [b"def", b"ghi"]'
    assert answered(tmp_path, text)[1] == b"abcd"


@pytest.mark.parametrize(
    "call",
    [
        '"200 OK\\r\\nX: y", []',
        '"200 OK", [("X", "a\\r\\nSet-Cookie: b")]',
        '"200 OK", [("X\\nY", "a")]',
        '"200 OK", [("Status", "404 Not Found")]',
        '"200 OK", [("X", "\u20ac")]',
    ],
)
def test_a_header_can_not_hold_another(tmp_path: Path, call: str) -> None:
    done = served(tmp_path, f"def application(environ, start_response):\n    start_response({call})\n    return [b'x']")
    assert done.returncode == 1
    assert done.stdout.startswith(b"Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n")
    assert b"ValueError: the header" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "scheme"),
    [
        ("REQUEST_SCHEME", "https", b"https"),
        ("HTTPS", "on", b"https"),
        ("REQUEST_SCHEME", "gopher", b"http"),
        ("HTTPS", "", b"http"),
    ],
)
def test_the_scheme(tmp_path: Path, name: str, value: str, scheme: bytes) -> None:
    text = f"{OK}\nreturn [environ['wsgi.url_scheme'].encode()]"
    assert answered(tmp_path, text, b"", **{name: value})[1] == scheme


def test_a_file_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    text = f'{OK}\nreturn environ["wsgi.file_wrapper"](open({str(tmp_path / "file")!r}, "rb"))'
    assert answered(tmp_path, text)[1] == b"x" * 100_000


def test_one_that_raises_is_500_and_says_why_in_the_log_alone(tmp_path: Path) -> None:
    done = served(tmp_path, "def application(environ, start_response):\n    raise KeyError('secret')\n")
    assert done.returncode == 1
    assert done.stdout.startswith(b"Status: 500 Internal Server Error\r\n")
    assert b"secret" not in done.stdout
    assert b"KeyError: 'secret'" in done.stderr


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "application", "AttributeError"),
        ("application = 7", "application", "is a int, which can't be called"),
        ("1/0", "application", "ZeroDivisionError: division by zero at {path}:1"),
        ("raise SystemExit(3)", "application", "SystemExit: 3"),
        ("def broken(:", "application", "SyntaxError"),
        ("", "no_such_module_here:app", "No module named 'no_such_module_here'"),
    ],
)
def test_one_that_can_not_be_loaded_says_why(tmp_path: Path, text: str, name: str, reason: str) -> None:
    path = tmp_path / "app.wsgi"
    path.write_text(text)
    descriptor, before = os.open(path, os.O_RDONLY), list(sys.path)
    try:
        with pytest.raises(LoadFailed) as raised:
            application.load(name, str(path), descriptor)
    finally:
        os.close(descriptor)
        sys.path[:] = before
        sys.modules.pop("_wsgi_app", None)
    assert reason.replace("{path}", str(path)) in raised.value.reason


SHOP = f"""
class Site:
    def wsgi(self, environ, start_response):
        {OK}
        return [b'shop']
wsgi = Site().wsgi
"""


def test_it_may_be_of_a_module_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    done = served(tmp_path, "not Python", name="shop:wsgi")
    assert done.stdout.endswith(b"shop"), done.stderr
