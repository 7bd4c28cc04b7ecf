"""What leaves selcgi unread stays the answer of its own request, whatever a script does to its pipe."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.servers import Nginx
from tests.stack import Ask, Selcgi, ask, wait_until

PIECES = 40  # of 64 KiB: so much is spliced
MINE = b"of another\n" * 6_000
PACKETS = """#!/usr/bin/python3
import fcntl, os, time
os.write(1, b"Content-Type: text/plain\\r\\n\\r\\n" + b"a" * 100)
time.sleep(0.2)
usual, data = fcntl.fcntl(1, fcntl.F_GETFL), b"a" * 65536
for _ in range(60):
    fcntl.fcntl(1, fcntl.F_SETFL, usual)
    for _ in range(2):
        at = 0
        while at < len(data):
            at += os.write(1, data[at:])
    fcntl.fcntl(1, fcntl.F_SETFL, usual | os.O_DIRECT)
    for _ in range(32):
        os.write(1, b"EVIL" * 1024)
"""
PLAIN = f"""#!/usr/bin/python3
import os
os.write(1, b"Content-Type: text/plain\\r\\n\\r\\n")
data = {MINE[:11]!r} * 6000
for _ in range({PIECES}):
    at = 0
    while at < len(data):
        at += os.write(1, data[at:])
"""
WORKS_ON = "#!/bin/sh\nprintf 'Status: {status}\\nContent-Type: text/plain\\n{length}\\n{body}'\nexec >&- 2>&-\n" + (
    "sleep 1\necho done > $CGI_MARKS/done\n"
)


@pytest.fixture
def selcgi(serve: Serve) -> Iterator[Selcgi]:
    with serve() as running:
        yield running


def begin(script: Path, user: str) -> bytes:
    pairs = encode_pairs(Ask(str(script), user).pairs())
    head = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 0, 0, 0, 0, 0, 0)))
    ends = encode_record(Kind.PARAMS, 1, b"") + encode_record(Kind.STDIN, 1, b"")
    return head + encode_stream(Kind.PARAMS, 1, pairs) + ends


def stalling(selcgi: Selcgi, script: Path) -> tuple[bytes, int]:
    """The output of a script as a client has it that takes little at a time, and its last record's kind."""
    body, kind = bytearray(), 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(str(selcgi.socket))
        sock.sendall(begin(script, "alice"))
        reader = RecordReader()
        while data := sock.recv(20_000):
            for record in reader.feed(data):
                kind = record.kind
                body += record.content if kind == Kind.STDOUT else b""
    return bytes(body), kind


def test_packets_of_one_script_are_in_no_other_answer(selcgi: Selcgi, place: Place) -> None:
    """Packets (O_DIRECT of pipe(2)) come out of a pipe one at a time: what a full socket did not take, too."""
    place.script("packets.cgi", PACKETS)
    place.script("plain.cgi", PLAIN)
    theirs: list[tuple[bytes, int]] = []
    thread = threading.Thread(target=lambda: theirs.append(stalling(selcgi, place.cgi / "packets.cgi")))
    thread.start()
    answers = [ask(selcgi.socket, Ask(str(place.cgi / "plain.cgi"), "bob")) for _ in range(8)]
    thread.join()
    assert [(answer.body == MINE * PIECES, answer.complete) for answer in answers] == [(True, True)] * 8
    body, last = theirs[0]
    expected = b"a" * 100 + (b"a" * 131072 + b"EVIL" * 1024 * 32) * 60
    assert (body.partition(b"\r\n\r\n")[2] == expected, last) == (True, Kind.END_REQUEST)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_that_leaves_with_the_whole_answer_does_not_end_the_script(
    selcgi: Selcgi, place: Place, method: str
) -> None:
    text = WORKS_ON.format(status=200, length="Content-Length: 5\\n", body="whole")
    asked = Ask(place.script("works.cgi", text), "alice", method=method)
    whole = b"" if method == "HEAD" else b"whole"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(selcgi.socket))
        pairs = encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs())) + encode_record(Kind.PARAMS, 1, b"")
        sock.sendall(encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, 0, 0, 0, 0, 0))) + pairs)
        sock.sendall(encode_record(Kind.STDIN, 1, b""))
        reader, body = RecordReader(), b""
        while not body.endswith(b"\r\n\r\n" + whole):
            body += b"".join(record.content for record in reader.feed(sock.recv(65536)))
    ran_on(selcgi, place)


def ran_on(selcgi: Selcgi, place: Place) -> None:
    wait_until("its line", selcgi.entries)
    entry = selcgi.entry()
    assert (entry["exit"], entry["killed_by"]) == ("0", "")
    assert (place.marks / "done").exists()


@pytest.mark.web
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 304)])
def test_nginx_that_leaves_after_the_head_does_not_end_the_script(
    place: Place, serve: Serve, method: str, status: int
) -> None:
    place.script("works.cgi", WORKS_ON.format(status=status, length="", body=""))
    words = ("--head",) if method == "HEAD" else ()
    with serve(identity=f"proof:{place.proof()}") as selcgi, Nginx(place.folder, place.cgi, selcgi.socket) as server:
        assert server.curl("works.cgi", "alice", *words).stdout.endswith(b"%d" % status)
        ran_on(selcgi, place)
