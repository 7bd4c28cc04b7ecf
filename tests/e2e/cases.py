"""The cases of the table case x web server: what a client sends, and in few words what it gets.

Decides what a cell says, never what it should say: that is contrib/WEB-SERVERS.md, which tests/e2e/test_matrix.py holds
every server to. All cases go through the anonymous place of the server's file in contrib/.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tests.wire.test_environ import FIXED_NAMES

SHOW = """#!/usr/bin/python3
import hashlib, json, os, sys
body = sys.stdin.buffer.read()
seen = {name: os.fsencode(value).decode("utf-8", "backslashreplace") for name, value in os.environ.items()}
text = json.dumps({"environ": seen, "bytes": len(body), "words": sys.argv[1:]})
sys.stdout.write("Content-Type: application/json\\n\\n" + text)
"""
ANSWERS = r"""#!/usr/bin/python3
import os, sys, time
PLAIN = b"Content-Type: text/plain\n"
NOISE = b"oops\n" * 2_000_000
ANSWERS = {
    "status": b"Status: 418 I am a teapot\n" + PLAIN + b"\nshort",
    "absolute": b"Location: http://example.org/there\n\n",
    "moved": b"Status: 301 Moved\nLocation: http://example.org/there\n\n",
    "local": b"Location: /open/there\n\n",
    "cookies": PLAIN + b"Set-Cookie: a=1\nSet-Cookie: b=2\n\nbody",
    "folded": PLAIN + b"X-Long: one\n two\n\nbody",
    "crlf": b"Content-Type: text/plain\r\n\r\nbody",
    "head3": PLAIN + b"X-Long: " + b"x" * 3_000 + b"\n\nbody",
    "head5": PLAIN + b"X-Long: " + b"x" * 5_000 + b"\n\nbody",
    "head20": PLAIN + b"".join(b"X-Long-%d: " % n + b"x" * 4_000 + b"\n" for n in range(5)) + b"\nbody",
    "head40": PLAIN + b"".join(b"X-Long-%d: " % n + b"x" * 4_000 + b"\n" for n in range(10)) + b"\nbody",
    "nph": b"HTTP/1.0 404 Gone fishing\r\nContent-Type: text/plain\r\n\r\nbody",
    "bare": b"just text, no head\n",
    "nothing": b"",
    "much": b"Content-Length: 100\n" + PLAIN + b"\nbody",
    "little": b"Content-Length: 2\n" + PLAIN + b"\nbody",
    "nul": PLAIN + b"\na\0b\0",
    "304": b"Status: 304 Not Modified\n\n",
    "204": b"Status: 204 No Content\n\n",
}
name = os.environ["QUERY_STRING"]
if name == "stderr":
    os.write(2, b"before\n")
    os.write(1, PLAIN)
    os.write(2, b"between\n\n")
    os.write(1, b"\nbody")
    os.write(2, b"after\n")
elif name == "noise":
    os.write(1, PLAIN + b"\nbo")
    sys.stderr.buffer.write(NOISE)
    os.write(1, b"dy")
elif name == "pieces":
    for piece in (b"Content-", b"Type: text/plain\nX-Long: ", b"abc\n", b"\n", b"body"):
        os.write(1, piece)
        time.sleep(0.05)
elif name == "late":
    os.write(1, PLAIN + b"\npart")
    time.sleep(600)
else:
    sys.stdout.buffer.write(ANSWERS[name])
"""
_LONG = b"x" * 200_000
_KNOWN = {name.decode() for name in FIXED_NAMES} | {"LC_CTYPE"}  # set by Python itself
_TRIES = 5


@dataclass(frozen=True)
class Got:
    """What the client has. `body` is None when the answer broke off."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def environ(self, name: str) -> str:
        """A variable of show.cgi, - when it had none."""
        return str(json.loads(self.body or b"{}")["environ"].get(name, "-"))

    def bytes(self) -> int:
        return int(json.loads(self.body or b"{}")["bytes"])


@dataclass(frozen=True)
class Case:
    """`say` puts what came into few words; it is asked only for a status 200 unless `any_status`."""

    name: str
    path: str
    say: Callable[[Got], str]
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    chunked: bool = False
    any_status: bool = field(default=False)

    def cell(self, port: int) -> str:
        # A server that refuses in the middle of a request may reset its answer away.
        got = next(filter(None, (send(self, port) for _ in range(_TRIES))), None)
        if got is None:
            return "no answer"
        if got.status != 200 and not self.any_status:
            return str(got.status)
        return f"{got.status} {self.say(got)}".strip()


def send(case: Case, port: int) -> Got | None:
    """None when the server closed without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(case.method, f"/open/{case.path}", skip_accept_encoding=True)
        for name, value in (("Connection", "close"), *case.headers):
            connection.putheader(name, value)
        if case.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif case.body is not None and "Content-Length" not in dict(case.headers):
            connection.putheader("Content-Length", str(len(case.body)))
        with suppress(ConnectionError):  # refused before all was sent: the answer is there
            connection.endheaders()
            for piece in _pieces(case):
                connection.send(piece)
        return _receive(connection)
    except (http.client.BadStatusLine, ConnectionError):
        return None
    finally:
        connection.close()


def _pieces(case: Case) -> Iterator[bytes]:
    """At once, or in chunks of 10,000 bytes (RFC 9112 section 7.1)."""
    body = case.body or b""
    if not case.chunked:
        yield body
        return
    for at in range(0, len(body), 10_000):
        piece = body[at : at + 10_000]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _receive(connection: http.client.HTTPConnection) -> Got:
    answer = connection.getresponse()
    try:
        body: bytes | None = answer.read()
    except (http.client.IncompleteRead, ConnectionError, TimeoutError):
        body = None
    return Got(answer.status, answer.getheaders(), body)


def _text(got: Got) -> str:
    return "broken off" if got.body is None else got.body.decode("latin-1")


def _method(got: Got) -> str:
    return got.environ("REQUEST_METHOD") if got.body else ""


def _length(got: Got) -> str:
    return f"length {got.environ('CONTENT_LENGTH')}, {got.bytes()} bytes"


def _variable(name: str) -> Callable[[Got], str]:
    return lambda got: got.environ(name)


def _foreign(got: Got) -> str:
    """Variables that no script should see."""
    names = set(json.loads(got.body or b"{}")["environ"])
    others = {name for name in names - _KNOWN if not name.startswith("HTTP_")}
    others |= names & {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"}
    return " ".join(sorted(others)) or "none"


def _words(got: Got) -> str:
    return f"{len(json.loads(got.body or b'{}')['words'])} words"


def _size(name: str) -> Callable[[Got], str]:
    return lambda got: f"{len(got.environ(name))} bytes"


def _location(got: Got) -> str:
    return " ".join(got.header("location"))


def _head(got: Got) -> str:
    return f"{sum(len(value) for name, value in got.headers if name.lower().startswith('x-long'))} bytes"


def _names(got: Got) -> str:
    seen = {name: got.environ(f"HTTP_X_{name}") for name in ("DOT", "UNDER", "LOWER")}
    return ", ".join(name.lower() for name, value in seen.items() if value != "-") or "none"


CASES = (
    *(Case(f"method {name}", "show.cgi", _method, name) for name in ("GET", "HEAD", "DELETE", "OPTIONS", "PURGE")),
    *(Case(f"method {name}", "show.cgi", _method, name, body=b"x") for name in ("POST", "PUT")),
    Case("no body", "show.cgi", _length),
    Case("POST, empty body", "show.cgi", _length, "POST", body=b""),
    Case("body with length", "show.cgi", _length, "POST", body=_LONG),
    Case("chunked body, 10 bytes", "show.cgi", _length, "POST", body=b"0123456789", chunked=True),
    Case("chunked body, 200 KB", "show.cgi", _length, "POST", body=_LONG, chunked=True),
    Case("Expect: 100-continue", "show.cgi", _length, "POST", (("Expect", "100-continue"),), _LONG),
    Case("Content-Length: 5x", "show.cgi", _length, "POST", (("Content-Length", "5x"),), b"12345"),
    Case("Content-Length empty", "show.cgi", _length, "POST", (("Content-Length", ""),), b""),
    Case("PATH_INFO with a blank", "show.cgi/a%20b", _variable("PATH_INFO")),
    Case("PATH_INFO with a percent", "show.cgi/100%25", _variable("PATH_INFO")),
    Case("PATH_INFO in UTF-8", "show.cgi/%C3%A9", _variable("PATH_INFO")),
    Case("PATH_INFO with a line end", "show.cgi/a%0Ab", _variable("PATH_INFO")),
    Case("PATH_INFO with //", "show.cgi/a//b", _variable("PATH_INFO")),
    Case("PATH_INFO with ..", "show.cgi/a/../b", _variable("PATH_INFO")),
    Case("PATH_INFO of 4 KB", "show.cgi/" + "p" * 4_096, _size("PATH_INFO")),
    Case("name in another case", "SHOW.CGI", _variable("SCRIPT_NAME")),
    Case("SCRIPT_NAME", "show.cgi/a", _variable("SCRIPT_NAME")),
    Case("query without =", "show.cgi?-d+x", _words),
    Case("query of 6 KB", "show.cgi?" + "q" * 6_000, _size("QUERY_STRING")),
    Case(
        "60 KB of headers", "show.cgi", _size("HTTP_X_H14"), headers=tuple((f"X-H{n}", "h" * 4_000) for n in range(15))
    ),
    Case("repeated header", "show.cgi", _variable("HTTP_X_R"), headers=(("X-R", "a"), ("X-R", "b"))),
    Case("repeated cookie", "show.cgi", _variable("HTTP_COOKIE"), headers=(("Cookie", "a=1"), ("Cookie", "b=2"))),
    Case("names: dot, _, lower", "show.cgi", _names, headers=(("X.Dot", "1"), ("X_Under", "1"), ("x-lower", "1"))),
    Case("variables of others", "show.cgi", _foreign, "POST", body=b"x", headers=(("Content-Type", "text/plain"),)),
    Case("Proxy: header", "show.cgi", _variable("HTTP_PROXY"), headers=(("Proxy", "evil"),)),
    Case("Authorization where none is asked", "show.cgi", _variable("REMOTE_USER"),
         headers=(("Authorization", "Basic YWxpY2U6c2VjcmV0"),)),
    Case("Status: 418", "answers.cgi?status", _text, any_status=True),
    Case("Location, absolute", "answers.cgi?absolute", _location, any_status=True),
    Case("Location with Status", "answers.cgi?moved", _location, any_status=True),
    Case("Location, local", "answers.cgi?local", _location, any_status=True),
    Case("two Set-Cookie", "answers.cgi?cookies", lambda got: ", ".join(got.header("set-cookie"))),
    Case("folded header", "answers.cgi?folded", _text),
    Case("CRLF head", "answers.cgi?crlf", _text),
    Case("head in four pieces", "answers.cgi?pieces", _head),
    Case("head of 3 KB", "answers.cgi?head3", _head),
    Case("head of 5 KB", "answers.cgi?head5", _head),
    Case("head of 20 KB", "answers.cgi?head20", _head),
    Case("head of 40 KB", "answers.cgi?head40", _head),
    Case("NPH status line", "answers.cgi?nph", _text, any_status=True),
    Case("no head at all", "answers.cgi?bare", _text),
    Case("no output", "answers.cgi?nothing", _text),
    Case("Content-Length too big", "answers.cgi?much", _text),
    Case("Content-Length too small", "answers.cgi?little", _text),
    Case("time runs out after the head", "answers.cgi?late", _text),
    Case("body with NULs", "answers.cgi?nul", lambda got: f"{len(got.body or b'')} bytes"),
    Case("304", "answers.cgi?304", lambda got: f"{len(got.body or b'')} bytes", any_status=True),
    Case("204", "answers.cgi?204", lambda got: f"{len(got.body or b'')} bytes", any_status=True),
    Case("stderr before, between, after", "answers.cgi?stderr", _text),
    Case("10 MB of stderr", "answers.cgi?noise", _text),
)  # fmt: skip
