"""The service at its limits and at its sockets: too many requests, sockets it did not open, a killed supervisor."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from selcgi.system.familiar import MOST
from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.family import SOURCE, alive, new_tag, wait_dead, wait_started
from tests.stack import PATIENCE, PROGRAM, TREE, Ask, Selcgi, ask, wait_until

SLOW = "#!/bin/sh\nsleep 2\nprintf 'Content-Type: text/plain\\n\\nslow\\n'\n"
HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
FILES_FOR_TWO = 64 + 2 * MOST + 2 * 14 + 6  # and one that waits: serve/files.py
PER_CONNECTION = 64  # settings.py


def options(place: Place, *more: str) -> list[str]:
    return ["--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--script-user=nobody", "--workers=1", *more]


def few_files(files: int) -> tuple[str, ...]:
    return ("prlimit", f"--nofile={files}:{files}", *PROGRAM)


def test_one_request_too_many_is_told_to_come_again(place: Place) -> None:
    tag = new_tag()
    family = place.script("family.cgi", SOURCE)
    with (
        Selcgi(place.folder, *options(place, "--kill-grace=0.2"), program=few_files(FILES_FOR_TWO)) as selcgi,
        ExitStack() as held,
    ):
        assert "at most 2 requests at once" in selcgi.log()
        for _ in range(2):
            held.enter_context(begin(selcgi, Ask(family, "alice", f"hang={tag}")))
        wait_started(tag)
        held.enter_context(begin(selcgi, Ask(family, "bob", f"hang={tag}")))
        answer = ask(selcgi.socket, Ask(place.script("hello.cgi", HELLO), "alice"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "1 requests wait already" in selcgi.entry()["reason"]
        held.close()
        wait_until("room again", lambda: ask(selcgi.socket, Ask(place.script("hello.cgi", HELLO))).status == 200)
    wait_dead(tag)


def test_files_for_no_request_are_too_few(place: Place) -> None:
    words = [*few_files(64), "serve", f"--listen=unix:{place.folder}/x.sock", "--cgroup=none", *options(place)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environ())
    assert done.returncode == 3
    assert "64 open files do not suffice" in done.stderr
    assert "LimitNOFILE" in done.stderr


def test_one_request_too_many_on_a_connection_is_refused_alone(serve: Serve, place: Place) -> None:
    """FCGI_CANT_MPX_CONN (FastCGI 1.0 section 5.5); the others are answered."""
    pairs = encode_stream(Kind.PARAMS, 1, encode_pairs(Ask(place.script("hello.cgi", HELLO)).pairs()))
    with serve("--cgroup=none") as selcgi, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(selcgi.socket))
        for number in range(1, PER_CONNECTION + 2):
            sock.sendall(encode_record(Kind.BEGIN_REQUEST, number, bytes((0, 1, 1, 0, 0, 0, 0, 0))))
        header = sock.recv(16, socket.MSG_WAITALL)
        assert (header[1], int.from_bytes(header[2:4], "big"), header[12]) == (Kind.END_REQUEST, PER_CONNECTION + 1, 1)
        sock.sendall(pairs + encode_record(Kind.PARAMS, 1, b"") + encode_record(Kind.STDIN, 1, b""))
        assert b"hello" in until_end(sock)


def until_end(sock: socket.socket) -> bytes:
    """What one request got on its stdout."""
    records, output = RecordReader(), b""
    while data := sock.recv(65536):
        for record in records.feed(data):
            if record.kind == Kind.END_REQUEST:
                return output
            output += record.content
    raise AssertionError("the connection ended before the request")


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TREE), **more}


def test_a_killed_supervisor_lets_requests_end_and_its_socket_is_replaced(serve: Serve, place: Place) -> None:
    tag = new_tag()
    family = Ask(place.script("family.cgi", SOURCE), "alice", f"hang={tag}")
    with serve("--cgroup=none", "--kill-grace=0.2") as selcgi:
        workers = selcgi.workers()
        with begin(selcgi, Ask(place.script("slow.cgi", SLOW), "alice")) as slow, begin(selcgi, family):
            wait_started(tag)
            selcgi.signal(signal.SIGKILL)
            assert b"slow" in until_end(slow)
        wait_until("no worker", lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert alive(tag) == [], "its client had left"
    assert selcgi.socket.exists(), "nobody was left to remove it"
    with serve("--cgroup=none") as another:
        assert ask(another.socket, Ask(place.script("hello.cgi", HELLO))).status == 200


def test_a_socket_that_is_in_use_is_not_taken(serve: Serve, place: Place) -> None:
    with serve("--cgroup=none") as selcgi:
        words = [*PROGRAM, "serve", f"--listen=unix:{selcgi.socket}", "--cgroup=none", *options(place)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environ())
        assert (done.returncode, f"{selcgi.socket} is in use" in done.stderr) == (3, True)
        assert ask(selcgi.socket, Ask(place.script("hello.cgi", HELLO))).status == 200


@pytest.mark.parametrize(("listen", "number"), [("fd:0", 0), ("fd:7", 7), ("systemd", 3)])
def test_a_socket_that_another_opened_is_served_and_left(place: Place, listen: str, number: int) -> None:
    """By a web server that starts selcgi itself (descriptor 0), by a supervisor of any kind, by systemd."""
    path = place.folder / "given.sock"
    inside = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", inside, *PROGRAM, "serve", f"--listen={listen},identity=none", "--cgroup=none"]
    with socket.socket(socket.AF_UNIX) as given, open(place.folder / "log", "wb") as log:
        given.bind(str(path))
        given.listen()
        process = subprocess.Popen(
            [*words, *options(place)],
            stdin=given.fileno() if number == 0 else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ(LISTEN_FDS="1"),
            preexec_fn=lambda: os.dup2(given.fileno(), number),
            pass_fds=[number] if number else [],
        )
    try:
        wait_until("an answer", lambda: "is ready" in (place.folder / "log").read_text() or process.poll() is not None)
        assert ask(path, Ask(place.script("hello.cgi", HELLO))).text == "hello\n"
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0, (place.folder / "log").read_text()
    assert path.exists(), "it belongs to whoever opened it"


def test_the_pid_file_is_there_while_it_runs(serve: Serve, place: Place) -> None:
    file = place.folder / "selcgi.pid"
    with serve("--cgroup=none", f"--pid-file={file}") as selcgi:
        assert selcgi.process is not None
        assert file.read_text() == f"{selcgi.process.pid}\n"
    assert not file.exists()


def opened(folder: Path) -> list[str]:
    """What a process has open but for its standard streams."""
    return [one.resolve().name for one in folder.iterdir() if int(one.name) > 2]


def test_a_rotated_log_is_opened_anew_by_all(serve: Serve, place: Place) -> None:
    path = place.script("quick.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nquick\\n'\n")
    log = place.folder / "selcgi.log"
    more = f"--control={place.folder}/control.sock", f"--failures={place.folder}/failures"
    with serve("--cgroup=none", f"--log-file={log}", *more) as selcgi:
        assert selcgi.process is not None
        log.rename(place.folder / "selcgi.log.1")
        selcgi.signal(signal.SIGUSR1)
        wait_until("a line in the new file", lambda: ask(selcgi.socket, Ask(path)).status == 200 and log.exists())
        wait_until("a request's line there", lambda: '"status": 200' in log.read_text())
        held = [Path(f"/proc/{pid}/fd") for pid in (selcgi.process.pid, *selcgi.workers())]
        assert len(held) == 4, "supervisor, worker, control process, recorder"
        wait_until("nobody has the old file", lambda: "selcgi.log.1" not in str(list(map(opened, held))))
    assert "is ready" in (place.folder / "selcgi.log.1").read_text()
