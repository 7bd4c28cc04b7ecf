"""`selcgi request`: a running selcgi asked over its own sockets, and what listens there and is none."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Place, Serve
from tests.stack import PROGRAM, TREE, Selcgi

Done = subprocess.CompletedProcess[bytes]
STDIN_END = b"\1\5\0\1\0\0\0\0"
ECHO = """#!/bin/sh
echo a word of the script >&2
printf 'Content-Type: text/plain\\n\\n'
echo "$REMOTE_USER $AUTH_TYPE $REQUEST_METHOD $PATH_INFO $QUERY_STRING $HTTP_X_A"
cat
"""
BROKEN = "#!/bin/sh\nprintf 'Content-Type: text/plain\\nContent-Length: 100\\n\\nshort'\n"
HANGING = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nbegun'\nexec sleep 600\n"


@pytest.fixture
def running(serve: Serve, place: Place) -> Iterator[Selcgi]:
    for name, text in (("echo.cgi", ECHO), ("broken.cgi", BROKEN), ("hanging.cgi", HANGING)):
        place.script(name, text)
    with serve(identity=f"proof:{place.proof()}") as selcgi:
        yield selcgi


@pytest.fixture
def request_(place: Place) -> Callable[..., Done]:
    def start(*words: str, to: str = "", body: bytes = b"") -> Done:
        line = [*PROGRAM, "request", f"--to={to or f'unix:{place.folder}/selcgi.sock'}", f"--root={place.cgi}", *words]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        return subprocess.run(line, capture_output=True, input=body, env=environ, timeout=60)

    return start


@pytest.fixture
def stranger() -> Iterator[Callable[[bytes], str]]:
    """Somebody who says this to whoever connects, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def say(words: bytes) -> str:
            def answer() -> None:
                with server.accept()[0] as peer:
                    heard = b""
                    while not heard.endswith(STDIN_END):
                        heard += peer.recv(65536)
                    peer.sendall(words)

            threading.Thread(target=answer, daemon=True).start()
            return "{}:{}".format(*server.getsockname())

        yield say


@pytest.mark.usefixtures("running")
def test_a_user_with_the_proof(request_: Callable[..., Done], place: Place) -> None:
    proof = f"--proof={place.folder}/proof"
    done = request_("--user=alice", proof, "--header=X-A: b", "--body=-", "echo.cgi/in?q=1", body=b"1,2,3\n")
    assert done.returncode == 0
    assert done.stdout == b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nalice Basic POST /in q=1 b\n1,2,3\n"
    script, status, seconds = done.stderr.decode().splitlines()
    assert (script, status, seconds.split()[0]) == ("a word of the script", "status: 200", "seconds:")


@pytest.mark.usefixtures("running")
def test_nobody_known(request_: Callable[..., Done]) -> None:
    done = request_("echo.cgi")
    assert (done.returncode, done.stdout.splitlines()[-1].split()) == (0, [b"GET"])


def test_a_user_without_the_proof_is_refused(request_: Callable[..., Done], running: Selcgi) -> None:
    done = request_("--user=alice", "echo.cgi")
    assert (done.returncode, done.stdout.startswith(b"Status: 403 ")) == (1, True)
    assert b"status: 403\n" in done.stderr
    assert b"reason: see the log of who was asked" in done.stderr
    assert running.entry()["step"] == "identity"


@pytest.mark.usefixtures("running")
def test_an_answer_that_breaks_off(request_: Callable[..., Done]) -> None:
    done = request_("broken.cgi")
    assert (done.returncode, done.stdout.endswith(b"\r\n\r\nshort")) == (1, True)
    assert b"reason: the answer broke off before its end\n" in done.stderr


def test_it_waits_no_longer_than_it_is_told(request_: Callable[..., Done], running: Selcgi) -> None:
    done = request_("--timeout=0.5", "hanging.cgi")
    assert (done.returncode, done.stdout.endswith(b"begun")) == (1, True)
    assert b"reason: no whole answer came within 0.5 s\n" in done.stderr
    assert running.entry()["step"] == "client", "the script has ended with the connection"


def test_by_tcp(request_: Callable[..., Done], serve: Serve, place: Place) -> None:
    place.script("echo.cgi", ECHO)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
    with serve(f"--listen=tcp:{address},identity=proof:{place.proof()}"):
        done = request_("--user=alice", f"--proof={place.folder}/proof", "echo.cgi", to=address)
    assert (done.returncode, b"alice Basic GET" in done.stdout) == (0, True)


def test_a_listener_that_lets_in_others_only(request_: Callable[..., Done], serve: Serve) -> None:
    with serve(identity="none,peer-uid=news"):
        done = request_("echo.cgi")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"status: none\n" in done.stderr
    assert b"peer-uid=, peer-type= and peer-net= may keep this command out" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"record version 72, not 1; see that the peer speaks FastCGI"),
        (b"\1\3\0\1\0\x08\0\0\0\0\0\0\0\0\0\0", b"no response head came"),
        (b"\1\6\0\1\0\5\0\0\0\0\n\n\n\1\3\0\1\0\x08\0\0\0\0\0\0\0\0\0\0", b"no header: '\\x00\\x00'"),
        (b"\1\6\0\1\0\6\0\0A: b\n\n\1\3\0\1\0\x08\0\0\0\0\0\7\0\0\0\0", b"the application's status 7"),
    ],
    ids=["HTTP", "an end alone", "no head", "a status of the application"],
)
def test_who_is_no_selcgi(
    request_: Callable[..., Done], stranger: Callable[[bytes], str], words: bytes, reason: bytes
) -> None:
    done = request_("echo.cgi", to=stranger(words))
    assert done.returncode == 1
    assert reason.replace(b"; see", b"\nfix: see") in done.stderr


def test_nobody_listens(request_: Callable[..., Done], place: Place) -> None:
    done = request_("echo.cgi")
    assert (done.returncode, done.stdout) == (3, b"")
    assert f"unix:{place.folder}/selcgi.sock can't be reached: No such file or directory".encode() in done.stderr


@pytest.mark.parametrize("to", ["/run/selcgi.sock", "unix:/x,identity=none", "localhost", "fd:0", "systemd"])
def test_what_is_no_address_is_a_mistake(request_: Callable[..., Done], to: str) -> None:
    done = request_("echo.cgi", to=to)
    assert (done.returncode, b"Invalid value for '--to'" in done.stderr) == (2, True)
