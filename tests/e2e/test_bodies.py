"""Large bodies at the socket and through web servers: every byte, whatever is slow, ignored, promised or broken off."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.servers import Apache, Lighttpd, Nginx, NginxStreaming, Server
from tests.stack import Ask, Selcgi, ask, wait_until

SIZE = 8_000_000
SCRIPTS = {
    "echo.cgi": "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\n\\n'\nexec cat\n",
    "hash.cgi": "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nsha256sum | cut -c -64\n",
    "down.cgi": "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\n'\n"
    '[ -n "$QUERY_STRING" ] && printf "Content-Length: $QUERY_STRING\\n"\necho\nexec cat {marks}/data\n',
    "ignores.cgi": "#!/bin/sh\nexec < /dev/null\nprintf 'Content-Type: application/octet-stream\\n\\n'\n"
    "exec cat {marks}/data\n",
    "slow.cgi": "#!/usr/bin/python3\nimport hashlib, sys, time\ndigest = hashlib.sha256()\n"
    "while piece := sys.stdin.buffer.read(400_000):\n    time.sleep(0.01)\n    digest.update(piece)\n"
    "print('Content-Type: text/plain\\n')\nprint(digest.hexdigest())\n",
    "marks.cgi": "#!/bin/sh\necho $$ > {marks}/pid\ncat > /dev/null && echo whole > {marks}/whole\n"
    "printf 'Status: 204\\n\\n'\n",
    "endless.cgi": "#!/bin/sh\necho $$ > {marks}/pid\nprintf 'Content-Type: text/plain\\n\\n'\nexec cat /dev/zero\n",
}


@pytest.fixture
def data(place: Place) -> bytes:
    for name, text in SCRIPTS.items():
        place.script(name, text.replace("{marks}", str(place.marks)))
    content = os.urandom(SIZE)
    (place.marks / "data").write_bytes(content)
    (place.marks / "data").chmod(0o644)
    return content


@pytest.fixture
def selcgi(data: bytes, serve: Serve) -> Iterator[Selcgi]:
    assert data
    with serve("--timeout=60", "--kill-grace=1") as running:
        yield running


def script(place: Place, name: str) -> str:
    return str(place.cgi / name)


@pytest.mark.parametrize("name", ["echo.cgi", "hash.cgi", "slow.cgi"])
def test_up_and_down_at_the_socket(selcgi: Selcgi, place: Place, data: bytes, name: str) -> None:
    answer = ask(selcgi.socket, Ask(script(place, name), "alice", body=data))
    expected = data if name == "echo.cgi" else hashlib.sha256(data).hexdigest().encode() + b"\n"
    assert (answer.status, answer.body == expected, answer.complete) == (200, True, True)
    entry = selcgi.entry()
    assert entry["bytes_in"] == SIZE
    assert entry["bytes_out"] >= len(expected)


def test_a_script_that_ignores_its_body(selcgi: Selcgi, place: Place, data: bytes) -> None:
    answer = ask(selcgi.socket, Ask(script(place, "ignores.cgi"), "alice", body=data))
    assert (answer.status, answer.body == data, answer.complete) == (200, True, True)


@pytest.mark.parametrize(
    ("promise", "size", "whole"),
    [(SIZE, SIZE, True), (SIZE - 3_000_001, SIZE - 3_000_001, True), (SIZE + 1, SIZE, False)],
)
def test_what_the_script_promises(
    selcgi: Selcgi, place: Place, data: bytes, promise: int, size: int, whole: bool
) -> None:
    """More is cut, less is a broken answer."""
    answer = ask(selcgi.socket, Ask(script(place, "down.cgi"), "alice", str(promise)))
    assert (answer.body == data[:size], answer.complete) == (True, whole)
    reason = selcgi.entry().get("reason", "")
    assert ("beyond the script's own Content-Length" in reason) == (promise < SIZE)
    assert ("promised Content-Length" in reason) == (promise > SIZE)


def test_the_answer_to_head_has_no_body(selcgi: Selcgi, place: Place) -> None:
    answer = ask(selcgi.socket, Ask(script(place, "down.cgi"), "alice", str(SIZE), method="HEAD"))
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.headers["Content-Length"] == str(SIZE)


def begin(number: int, asked: Ask) -> bytes:
    head = encode_record(Kind.BEGIN_REQUEST, number, bytes((0, 1, 1, 0, 0, 0, 0, 0)))
    return (
        head + encode_stream(Kind.PARAMS, number, encode_pairs(asked.pairs())) + encode_record(Kind.PARAMS, number, b"")
    )


def test_two_on_one_connection_whose_reader_is_slow(selcgi: Selcgi, place: Place, data: bytes) -> None:
    """Their records come and go side by side, a few KB at a time."""
    bodies = {1: data, 2: data[::-1]}
    params = {"CONTENT_LENGTH": str(SIZE)}
    sock = socket.socket(socket.AF_UNIX)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(str(selcgi.socket))
    asked = Ask(script(place, "echo.cgi"), "alice", method="POST", params=params)
    out = bytearray(begin(1, asked) + begin(2, asked))
    for at in range(0, SIZE, 20_000):
        for number, body in bodies.items():
            out += encode_record(Kind.STDIN, number, body[at : at + 20_000])
    out += encode_record(Kind.STDIN, 1, b"") + encode_record(Kind.STDIN, 2, b"")
    found, ended = {1: bytearray(), 2: bytearray()}, 0
    reader, sent = RecordReader(), 0
    sock.setblocking(False)
    while ended < 2:
        with suppress(BlockingIOError):
            sent += sock.send(memoryview(out)[sent : sent + 100_000]) if sent < len(out) else 0
        try:
            received = sock.recv(5_000 if sent < len(out) else 60_000)
        except BlockingIOError:
            continue
        assert received, "the connection broke off"
        for record in reader.feed(received):
            ended += record.kind == Kind.END_REQUEST
            if record.kind == Kind.STDOUT:
                found[record.request_id] += record.content
    sock.close()
    assert {number: bytes(body).partition(b"\r\n\r\n")[2] == bodies[number] for number, body in found.items()} == {
        1: True,
        2: True,
    }


def started(place: Place) -> int:
    """The pid of the script, once it runs."""
    wait_until("the script", lambda: (place.marks / "pid").exists() and (place.marks / "pid").read_text().strip())
    return int((place.marks / "pid").read_text())


@pytest.mark.parametrize("name", ["marks.cgi", "endless.cgi"])
def test_a_client_that_leaves_in_the_middle_ends_the_script(
    selcgi: Selcgi, place: Place, data: bytes, name: str
) -> None:
    up = name == "marks.cgi"
    params = {"CONTENT_LENGTH": str(SIZE if up else 0)}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(selcgi.socket))
        sock.sendall(begin(1, Ask(script(place, name), "alice", method="POST" if up else "GET", params=params)))
        if up:
            sock.sendall(encode_stream(Kind.STDIN, 1, data[: SIZE // 2]))
        else:
            assert sock.recv(1 << 20, socket.MSG_WAITALL)
        pid = started(place)
    wait_until("the end of the script", lambda: not Path(f"/proc/{pid}").exists())
    assert not (place.marks / "whole").exists()
    wait_until("its line", selcgi.entries)
    assert selcgi.entry()["step"] == "client"


@pytest.mark.web
@pytest.mark.parametrize("kind", [Nginx, NginxStreaming, Apache, Lighttpd], ids=lambda kind: kind.name)
def test_up_and_down_through_a_web_server(kind: type[Server], data: bytes, place: Place, serve: Serve) -> None:
    upload = place.marks / "data"
    with serve(identity=f"proof:{place.proof()}") as selcgi, kind(place.folder, place.cgi, selcgi.socket) as server:
        echoed = server.curl("echo.cgi", "alice", "--data-binary", f"@{upload}").stdout
        assert (echoed.endswith(b"\n200"), echoed[:-4] == data) == (True, True)
        assert server.ask("hash.cgi", "alice", "--data-binary", f"@{upload}") == (
            200,
            hashlib.sha256(data).hexdigest() + "\n",
        )
        down = server.curl(f"down.cgi?{SIZE}", "alice").stdout
        assert (down.endswith(b"\n200"), down[:-4] == data) == (True, True)
