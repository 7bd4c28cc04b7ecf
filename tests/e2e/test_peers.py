"""What web servers were seen to send, and launchers to stumble over, reproduced on the wire of a running selcgi."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, Record, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.servers import free_port
from tests.stack import PATIENCE, PROGRAM, TREE, Ask, Selcgi, ask, to_answer, wait_until

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
COUNT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; wc -c\n"
WAITS = "#!/bin/sh\nuntil [ -e $CGI_MARKS/go ]; do sleep 0.05; done\nprintf 'Content-Type: text/plain\\n\\nwaited\\n'\n"
PIECES = """#!/usr/bin/python3
import os, time
for piece in (b"Content-", b"Type: text/plain\\n", b"X: y\\n", b"\\n", b"body"):
    os.write(1, piece)
    time.sleep(0.05)
"""
SHOW = """#!/usr/bin/python3
import os
print("Content-Type: text/plain\\n")
print(sum(name.startswith("HTTP_X_") for name in os.environ), len(os.environ.get("HTTP_COOKIE", "")))
"""
MUCH = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; exec head -c 67108864 /dev/zero\n"
NOISE = """#!/usr/bin/python3
import os
os.write(1, b"Content-Type: text/plain\\n\\nquiet")
for _ in range(160):
    os.write(2, b"n" * 65535 + b"\\n")
"""
NAME = "a b;cd $CGI_MARKS;touch x;$(touch x)'\"`touch x`&|\\.cgi"


def begun(number: int, asked: Ask, keep: bool = False, size: int = 65535) -> bytes:
    """A request up to its body; the params cut every `size` bytes, wherever that is."""
    data = encode_pairs(asked.pairs())
    pieces = (encode_record(Kind.PARAMS, number, data[at : at + size]) for at in range(0, len(data), size))
    head = encode_record(Kind.BEGIN_REQUEST, number, bytes((0, 1, int(keep), 0, 0, 0, 0, 0)))
    return head + b"".join(pieces) + encode_record(Kind.PARAMS, number, b"")


def stdin(number: int, body: bytes = b"") -> bytes:
    return encode_stream(Kind.STDIN, number, body) + encode_record(Kind.STDIN, number, b"")


@contextmanager
def connected(selcgi: Selcgi) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(selcgi.socket))
        yield sock


def until_end(sock: socket.socket, number: int) -> list[Record]:
    """All records until the end of that request, none of them another's."""
    reader, got = RecordReader(), list[Record]()
    while data := sock.recv(65536):
        got += reader.feed(data)
        if got and got[-1].kind == Kind.END_REQUEST and got[-1].request_id == number:
            return got
    raise AssertionError(f"closed after {got}")


def text_of(records: list[Record]) -> str:
    stdout = b"".join(record.content for record in records if record.kind == Kind.STDOUT)
    return to_answer(stdout, b"", True).text


@pytest.fixture
def selcgi(serve: Serve) -> Iterator[Selcgi]:
    with serve() as running:
        yield running


@pytest.mark.parametrize("number", [1, 3, 0x7FFF, 0xFFFF])
def test_any_request_id_is_answered_by_its_own(selcgi: Selcgi, place: Place, number: int) -> None:
    with connected(selcgi) as sock:
        sock.sendall(begun(number, Ask(place.script("hello.cgi", HELLO))) + stdin(number))
        records = until_end(sock, number)
    assert {record.request_id for record in records} == {number}
    assert [(record.kind, record.content) for record in records[-2:]] == [
        (Kind.STDOUT, b""),
        (Kind.END_REQUEST, bytes(8)),
    ]


def test_a_connection_is_kept_when_that_is_asked_for(selcgi: Selcgi, place: Place) -> None:
    """The body that nobody read does not get into the next request."""
    hello, count = place.script("hello.cgi", HELLO), place.script("count.cgi", COUNT)
    with connected(selcgi) as sock:
        sock.sendall(begun(1, Ask(hello, body=b"x" * 200_000), keep=True) + stdin(1, b"x" * 200_000))
        assert text_of(until_end(sock, 1)) == "hello\n"
        for body in (b"", b"12345"):
            sock.sendall(begun(1, Ask(count, body=body), keep=True) + stdin(1, body))
            assert text_of(until_end(sock, 1)) == f"{len(body)}\n"
        sock.sendall(begun(1, Ask(hello)) + stdin(1))
        assert text_of(until_end(sock, 1)) == "hello\n"
        assert sock.recv(1) == b"", "and closed when it is not"


@pytest.mark.parametrize("size", [65535, 16384, 8192, 1000])
def test_params_are_one_stream(selcgi: Selcgi, place: Place, size: int) -> None:
    """h2o cuts in the middle of a name or a value; more than one record even for nginx."""
    asked = Ask(place.script("show.cgi", SHOW), "alice", params={"HTTP_COOKIE": "c" * 100_000})
    with connected(selcgi) as sock:
        sock.sendall(begun(1, asked, size=size) + stdin(1))
        assert text_of(until_end(sock, 1)) == "0 100000\n"
    assert selcgi.entry()["user"] == "alice"


def test_three_hundred_headers_arrive(selcgi: Selcgi, place: Place) -> None:
    """suEXEC drops all beyond 255 variables, and says nothing."""
    asked = Ask(place.script("show.cgi", SHOW), params={f"HTTP_X_{number}": "v" for number in range(300)})
    assert ask(selcgi.socket, asked).text == "300 0\n"


def test_too_many_params_are_refused_in_band(selcgi: Selcgi, place: Place) -> None:
    asked = Ask(place.script("show.cgi", SHOW), params={f"HTTP_X_{number}": "v" * 10_000 for number in range(30)})
    answer = ask(selcgi.socket, asked)
    assert (answer.status, answer.complete) == (400, True)
    assert "longer than 262144 bytes" in selcgi.entry()["reason"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_script_without_a_body_starts_without_stdin(selcgi: Selcgi, place: Place, method: str) -> None:
    """Old HAProxy forgets the empty STDIN of an empty POST."""
    with connected(selcgi) as sock:
        sock.sendall(begun(1, Ask(place.script("count.cgi", COUNT), method=method)))
        assert text_of(until_end(sock, 1)) == "0\n"


def test_the_head_goes_out_in_one_record(selcgi: Selcgi, place: Place) -> None:
    """HAProxy 2.6.12 dies of one that is split."""
    with connected(selcgi) as sock:
        sock.sendall(begun(1, Ask(place.script("pieces.cgi", PIECES))) + stdin(1))
        first, *_ = until_end(sock, 1)
    assert first.kind == Kind.STDOUT
    assert first.content.startswith(b"Status: 200 OK\r\nContent-Type: text/plain\r\nX: y\r\n\r\n")


def test_a_script_that_does_not_read_holds_up_nobody_on_its_connection(selcgi: Selcgi, place: Place) -> None:
    body = b"x" * (1 << 20)
    with connected(selcgi) as sock:
        sock.sendall(begun(1, Ask(place.script("waits.cgi", WAITS), body=body), keep=True) + stdin(1, body))
        sock.sendall(begun(3, Ask(place.script("count.cgi", COUNT), body=body), keep=True) + stdin(3, body))
        assert text_of(until_end(sock, 3)) == f"{1 << 20}\n"
        (place.marks / "go").touch()
        assert text_of(until_end(sock, 1)) == "waited\n"


def test_kept_connections_without_a_request_hold_no_place(serve: Serve, place: Place) -> None:
    """HAProxy's pool, and Apache's with enablereuse."""
    hello = Ask(place.script("hello.cgi", HELLO))
    with serve("--concurrent=1", "--queue=100") as selcgi, ExitStack() as held:
        for _ in range(50):
            sock = held.enter_context(connected(selcgi))
            sock.sendall(begun(1, hello, keep=True) + stdin(1))
            until_end(sock, 1)
        assert ask(selcgi.socket, hello).text == "hello\n"
        (worker,) = selcgi.workers()
        assert not Path(f"/proc/{worker}/task/{worker}/children").read_text()


def test_a_name_is_never_a_shells_word(selcgi: Selcgi, place: Place) -> None:
    assert ask(selcgi.socket, Ask(place.script(NAME, HELLO))).text == "hello\n"
    assert not (place.marks / "x").exists()


@pytest.mark.parametrize("path", ["/usr/bin/id", "/bin/sh", "//usr/bin/id", "proxy:fcgi://localhost/usr/bin/id"])
def test_nothing_runs_that_lies_beneath_no_root(selcgi: Selcgi, path: str) -> None:
    assert ask(selcgi.socket, Ask(path, query="-c+id")).status == 403
    assert "beneath no root" in selcgi.entry()["reason"]


def test_a_body_that_nobody_reads_stops_no_clock(serve: Serve, place: Place) -> None:
    with serve("--idle-timeout=1", "--kill-grace=0.5") as selcgi:
        assert ask(selcgi.socket, Ask(place.script("waits.cgi", WAITS), body=b"x" * (1 << 20))).status == 504
        assert selcgi.entry()["step"] == "idle"


def test_a_peer_that_takes_little_costs_little(selcgi: Selcgi, place: Place) -> None:
    """The script could write all at once; what waits is in its pipe and in a bounded buffer."""
    assert ask(selcgi.socket, Ask(place.script("hello.cgi", HELLO))).text == "hello\n", "it has wholly begun"
    with connected(selcgi) as sock:
        (worker,) = selcgi.workers()
        before = peak(worker)
        sock.sendall(begun(1, Ask(place.script("much.cgi", MUCH))) + stdin(1))
        received = 0
        while data := sock.recv(65536):
            received += len(data)
            time.sleep(0.001)
    assert received > 64 << 20
    assert peak(worker) - before < 4 << 20


def peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_stderr_is_kept_up_to_a_bound(selcgi: Selcgi, place: Place) -> None:
    answer = ask(selcgi.socket, Ask(place.script("noise.cgi", NOISE)))
    assert (answer.text, len(answer.stderr)) == ("quiet", 64 << 10)
    wait_until("the note", lambda: f"{160 * 65536 - (64 << 10)} more bytes were dropped" in selcgi.log())
    assert len(selcgi.log()) < 200_000


def test_a_peer_that_goes_without_reading_its_answer_harms_nobody(selcgi: Selcgi, place: Place) -> None:
    hello = Ask(place.script("hello.cgi", HELLO))
    for _ in range(20):
        with connected(selcgi) as sock:
            sock.sendall(begun(1, hello) + stdin(1))
            sock.recv(1)  # the rest is there, and thrown away by the kernel with a reset
    assert ask(selcgi.socket, hello).text == "hello\n"
    assert "internal error" not in selcgi.log()
    assert "Traceback" not in selcgi.log()


def test_a_tcp_address_is_free_again_at_once(place: Place) -> None:
    """selcgi closes first, so its end of the connection lingers in the kernel."""
    proof, address = place.proof(), ("127.0.0.1", free_port())
    line = [*PROGRAM, "serve", f"--listen=tcp:{address[0]}:{address[1]},identity=proof:{proof}", "--selinux=off"]
    line += [f"--map={place.map}", f"--root={place.cgi}", "--script-user=nobody", "--workers=1", "--cgroup=none"]
    hello = Ask(place.script("hello.cgi", HELLO))
    for _ in range(2):
        process = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(TREE)}, stderr=subprocess.DEVNULL)
        try:
            wait_until("selcgi", lambda: accepts(address))
            with socket.create_connection(address) as sock:
                sock.settimeout(PATIENCE)
                sock.sendall(begun(1, hello) + stdin(1))
                assert text_of(until_end(sock, 1)) == "hello\n"
                assert sock.recv(1) == b""
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def accepts(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0
