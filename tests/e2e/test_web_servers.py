"""Five real web servers: what a script sees, what a client gets, and what nobody may forge."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.e2e.conftest import Place, Serve
from tests.servers import PROOF, SERVERS, VARIANTS, Apache, Caddy, HAProxy, Nginx, Server
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.web

SHOW = """#!/usr/bin/python3
import json, os, sys
body = sys.stdin.buffer.read()
print("Content-Type: application/json\\n")
print(json.dumps({"environ": dict(os.environ), "body": len(body)}))
"""
ANSWERS = """#!/bin/sh
case $QUERY_STRING in
  location) printf 'Location: http://example.org/\\n\\n' ;;
  accel) printf 'Content-Type: text/plain\\nX-Accel-Redirect: /secret/file\\n\\nmine\\n' ;;
  nothing) ;;
  early) printf 'Content-Type: text/plain\\n\\nearly\\n' ;;
  big) printf 'Content-Type: text/plain\\n\\n'; head -c 8388608 /dev/zero ;;
  slow) echo $$ > $CGI_MARKS/pid; sleep 600 ;;
  reads) echo $$ > $CGI_MARKS/pid; cat > /dev/null; echo whole > $CGI_MARKS/whole; printf 'Status: 204\\n\\n' ;;
  prints) echo $$ > $CGI_MARKS/pid; printf 'Content-Type: text/plain\\n\\n'; cat /dev/zero ;;
  stream) printf 'Content-Type: text/plain\\n\\nfirst\\n'; until [ -e $CGI_MARKS/go ]; do sleep 0.05; done; echo last ;;
esac
"""
ROUND_TRIP = 8 << 20


class Bare(HAProxy):
    """As HAProxy's manual has it: what a client says goes through."""

    name = "haproxy-bare"

    def line(self) -> list[str]:
        words = super().line()
        path = Path(words[-1])
        kept = [line for line in path.read_text().splitlines() if "http-request auth" not in line]
        path.write_text("\n".join(line for line in kept if "SELCGI_PROOF" not in line) + "\n")
        return words


@pytest.fixture
def selcgi(place: Place, serve: Serve) -> Iterator[Selcgi]:
    place.script("show.cgi", SHOW)
    place.script("answers.cgi", ANSWERS)
    with serve("--cgroup=none", "--timeout=6", "--kill-grace=1", identity=f"proof:{place.proof()}") as running:
        yield running


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, place: Place, selcgi: Selcgi) -> Iterator[Server]:
    with request.param(place.folder, place.cgi, selcgi.socket) as started:
        yield started


def shown(answer: tuple[int, str]) -> dict[str, str]:
    status, text = answer
    assert status == 200, text
    environ: dict[str, str] = json.loads(text)["environ"]
    return environ


def test_what_a_script_sees(server: Server, place: Place) -> None:
    headers = ("-H", "Proxy: evil", "-H", "X-Ordinary: yes")
    seen = shown(server.ask("show.cgi/a%20b/c?x=1&y=%20", "alice", *headers))
    assert seen["SCRIPT_FILENAME"] == str(place.cgi / "show.cgi")
    assert seen["SCRIPT_NAME"] == "/cgi-bin/show.cgi"
    assert seen["REQUEST_URI"] == "/cgi-bin/show.cgi/a%20b/c?x=1&y=%20"
    assert seen["PATH_INFO"] == "/a b/c"
    assert seen["QUERY_STRING"] == "x=1&y=%20"
    assert seen["REMOTE_USER"] == "alice"
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["SERVER_NAME"] in ("127.0.0.1", "localhost", "_")
    assert seen["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert seen["HTTP_X_ORDINARY"] == "yes"
    assert not {"HTTP_PROXY", "HTTP_AUTHORIZATION", "SELCGI_PROOF", "LD_LIBRARY_PATH"} & set(seen)
    assert PROOF not in str(seen)
    assert "CONTENT_LENGTH" not in seen


class CaddyWhole(Caddy):
    """Without `split`, all of the URL is PATH_INFO, and SCRIPT_FILENAME the root."""

    name = "caddy without split"

    def line(self) -> list[str]:
        words = super().line()
        path = Path(words[-1])
        path.write_text(path.read_text().replace("split .cgi", ""))
        return words


class ApacheDefault(Apache):
    """The default backend type: SCRIPT_FILENAME is proxy:fcgi://..., percent-encoded, with PATH_INFO in it."""

    name = "apache default type"

    def site(self) -> str:
        return super().site().replace("ProxyFCGIBackendType GENERIC", "")


class NginxUnnamed(Nginx):
    """As nginx' own fastcgi_params has it: no SCRIPT_FILENAME, but DOCUMENT_ROOT and SCRIPT_NAME."""

    name = "nginx without SCRIPT_FILENAME"

    def site(self) -> str:
        lines = [line for line in super().site().splitlines() if "SCRIPT_FILENAME" not in line]
        return "\n".join(lines).replace("root /var/www/html", f"root {self.cgi}").replace("$uri", "$selcgi_path")


@pytest.mark.parametrize("server", [CaddyWhole, ApacheDefault, NginxUnnamed], indirect=True, ids=lambda one: one.name)
@pytest.mark.parametrize("tail", ["", "/a%20b", "/100%25/show.cgi"])
def test_a_script_is_found_however_it_is_named(server: Server, place: Place, tail: str) -> None:
    seen = shown(server.ask(f"show.cgi{tail}?x", "alice"))
    assert seen["SCRIPT_FILENAME"] == str(place.cgi / "show.cgi")
    assert seen["SCRIPT_NAME"] == "/cgi-bin/show.cgi"
    assert seen.get("PATH_INFO", "") == unquote(tail)


def test_a_script_needs_no_extension(server: Server, place: Place) -> None:
    seen = shown(server.ask(Path(place.script("show", SHOW)).name, "alice"))
    assert (seen["SCRIPT_NAME"], "PATH_INFO" in seen) == ("/cgi-bin/show", False)


def test_nobody_known_is_anonymous(server: Server) -> None:
    assert "REMOTE_USER" not in shown(server.ask("show.cgi"))


@pytest.mark.parametrize("size", [0, 10, 200_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(server: Server, size: int, chunked: bool) -> None:
    if chunked and size > 10 and server.name == "haproxy":
        # HAProxy 2.6 itself answers 400: it needs a length for what does not fit its buffer.
        assert server.ask("show.cgi", "", "-H", "Transfer-Encoding: chunked", "--data-binary", "x" * 100)[0] in (
            200,
            400,
        )
        return
    options = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    status, text = server.ask("show.cgi", "", *options, "--data-binary", "@-", input=os.urandom(size))
    assert status == 200, text
    assert json.loads(text)["body"] == size


def test_a_long_upload_that_the_script_answers_early_or_ignores(server: Server, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(ROUND_TRIP))
    assert server.ask("answers.cgi?early", "", "--data-binary", f"@{upload}") == (200, "early\n")
    status, text = server.ask("show.cgi", "", "--data-binary", f"@{upload}")
    assert (status, json.loads(text)["body"]) == (200, ROUND_TRIP)


def test_a_long_answer(server: Server) -> None:
    status, text = server.ask("answers.cgi?big")
    assert (status, len(text)) == (200, ROUND_TRIP)


def test_answers_and_refusals(server: Server) -> None:
    assert server.ask("answers.cgi?location")[0] == 302
    assert server.ask("answers.cgi?nothing")[0] == 502
    assert server.ask("missing.cgi")[0] == 404
    status, text = server.ask("show.cgi", "carol")
    assert (status, "Request " in text, "carol" in text) == (403, True, False)


def test_a_wrong_password_gets_nowhere(server: Server) -> None:
    options = ["-o", "/dev/null", "-w", "%{http_code}", "-u", "alice:wrong"]
    done = server.curl("show.cgi", "bob", *options)
    assert done.stdout.endswith(b"401")


def test_a_name_without_its_proof_is_refused(selcgi: Selcgi, place: Place) -> None:
    """HAProxy sends the name and AUTH_TYPE=Basic of anybody; Debian's fastcgi_params make nginx do nearly the same."""
    with Bare(place.folder, place.cgi, selcgi.socket) as server:
        assert server.ask("show.cgi", "alice")[0] == 403
    Nginx.extra = (
        f"location ~ ^/debian/(.+)$ {{ include /etc/nginx/fastcgi_params;"
        f" fastcgi_param SCRIPT_FILENAME {place.cgi}/$1; fastcgi_pass unix:{selcgi.socket}; }}"
    )
    try:
        with Nginx(place.folder, place.cgi, selcgi.socket) as server:
            url = f"http://127.0.0.1:{server.port}/debian/show.cgi"
            done = server.curl("show.cgi", "", "-u", "alice:forged", url)
            assert b"403" in done.stdout
    finally:
        Nginx.extra = ""
    named = [entry for entry in selcgi.entries() if "REMOTE_USER 'alice'" in entry.get("reason", "")]
    assert {(entry["step"], entry["user"]) for entry in named} == {("identity", "")}


@pytest.mark.parametrize("allowed", [False, True])
def test_nginx_reads_no_file_for_a_script(place: Place, serve: Serve, allowed: bool) -> None:
    (place.folder / "file").write_text("secret\n")
    place.rules(f"__anonymous__ anon_webapp_t:s0 {'sendfile=yes' if allowed else ''}")
    place.script("answers.cgi", ANSWERS)
    Nginx.extra = f"location /secret/ {{ internal; alias {place.folder}/; }}"
    try:
        with serve() as running, Nginx(place.folder, place.cgi, running.socket) as server:
            assert server.ask("answers.cgi?accel") == (200, "secret\n" if allowed else "mine\n")
            wait_until("the line", running.entries)
            assert ("X-Accel-Redirect" in running.log()) == (not allowed)
    finally:
        Nginx.extra = ""


STREAMING = tuple(kind for kind in VARIANTS if kind.streams)


@pytest.mark.parametrize("server", STREAMING, indirect=True, ids=lambda kind: kind.name)
def test_the_first_bytes_come_before_the_script_ends(server: Server, place: Place) -> None:
    """The script goes on only when the client has read its first line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/open/answers.cgi?stream")
    answer = connection.getresponse()
    assert answer.read(6) == b"first\n"
    (place.marks / "go").touch()
    assert answer.read() == b"last\n"
    connection.close()


def started(place: Place) -> int:
    """The pid of the script, once it runs."""
    wait_until("the script", lambda: (place.marks / "pid").exists() and (place.marks / "pid").read_text().strip())
    return int((place.marks / "pid").read_text())


def test_an_upload_that_breaks_off_never_looks_whole(server: Server, place: Place) -> None:
    """Some servers keep it to themselves; with the others the script is ended before it sees the end of its input."""
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.sendall(
        b"POST /open/answers.cgi?reads HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(400_000)
    )
    if server.streams_uploads:
        pid = started(place)
        sock.close()
        wait_until("the end of the script", lambda: not Path(f"/proc/{pid}").exists())
    sock.close()
    assert server.ask("show.cgi")[0] == 200
    assert not (place.marks / "whole").exists()


@pytest.mark.parametrize("what", ["slow", "prints"])
def test_a_client_that_leaves_nginx_ends_the_script(selcgi: Selcgi, place: Place, what: str) -> None:
    with Nginx(place.folder, place.cgi, selcgi.socket) as server:
        server.curl(f"answers.cgi?{what}", "", "--max-time", "1", "-o", "/dev/null")
        pid = started(place)
        wait_until("the end of the script", lambda: not Path(f"/proc/{pid}").exists())
    assert selcgi.entry()["killed_by"] == "client"


@pytest.mark.parametrize(
    "server", [kind for kind in SERVERS if kind is not Nginx], indirect=True, ids=lambda one: one.name
)
def test_a_client_that_leaves_another_server_ends_the_script_in_time(server: Server, place: Place) -> None:
    """None of them says that it left."""
    server.curl("answers.cgi?slow", "", "--max-time", "1", "-o", "/dev/null")
    pid = started(place)
    wait_until("the end of the script", lambda: not Path(f"/proc/{pid}").exists())
