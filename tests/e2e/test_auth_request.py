"""A context from a service that real nginx asks for each request (auth_request), by the configuration of contrib/."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.conftest import USER, Place
from tests.servers import CONTRIB, PASSWORD, Nginx, Server
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.web

DOMAINS = {"alice": "user_webapp_t:s0:c7", "bob": "", "carol": "selcgi_t:s0", "dave": "user_webapp_t; staff_webapp_t"}


class Service(BaseHTTPRequestHandler):
    """Says who it is, and what the directory has."""

    def do_GET(self) -> None:
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(text).decode().partition(":") if kind == "Basic" else ("", "", "")
        good = user in DOMAINS and password == PASSWORD
        self.send_response(200 if good else 401)
        if good:
            self.send_header("X-User", user)
            if DOMAINS[user]:
                self.send_header("X-Domain", DOMAINS[user])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def service() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Selcgi]]:
    place.script("show.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n")
    place.rules("bob user_webapp_t:s0:c2")
    sources = ("--map=param:UDOMAIN", "--param-domain=user_webapp_t", f"--map={place.map}")
    options = ("--selinux=off", *sources, f"--root={place.cgi}", f"--script-user={USER}", "--workers=1")
    identity = f"proof:{place.proof()},map-param=UDOMAIN"
    with service() as port, Selcgi(place.folder, *options, identity=identity) as selcgi:
        text = (CONTRIB / "nginx" / "directory.conf").read_text()
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/srv/cgi", str(place.cgi))
        monkeypatch.setattr(Nginx, "extra", text)
        with Nginx(place.folder, place.cgi, selcgi.socket) as nginx:
            yield nginx, selcgi


def outcome(site: tuple[Server, Selcgi], user: str, *options: str) -> tuple[int, str, str]:
    nginx, selcgi = site
    before = len(selcgi.entries())
    status, _ = nginx.ask("/directory/show.cgi", user, *options)
    wait_until("its line in the log", lambda: len(selcgi.entries()) > before)
    entry = selcgi.entry()
    return status, entry["rule"], entry["context"].partition("system_r:")[2]


def test_what_the_service_says(site: tuple[Server, Selcgi]) -> None:
    assert outcome(site, "alice") == (200, "param:UDOMAIN", "user_webapp_t:s0:c7")
    assert outcome(site, "bob") == (200, "site.map:1", "user_webapp_t:s0:c2")
    for user in ("carol", "dave"):
        assert outcome(site, user) == (403, "param:UDOMAIN", "")


def test_a_client_can_not_say_it(site: tuple[Server, Selcgi]) -> None:
    names = ("X-Domain", "X-User", "UDOMAIN", "X-Upstream-Http-X-Domain")
    forged = [word for name in names for word in ("-H", f"{name}: user_webapp_t:s0:c7")]
    assert outcome(site, "bob", *forged) == (200, "site.map:1", "user_webapp_t:s0:c2")
    nginx, selcgi = site
    served = len(selcgi.entries())
    assert nginx.ask("/directory/show.cgi", "bob", "-u", "bob:wrong")[0] == 401
    assert nginx.ask("/directory/show.cgi", "", *forged)[0] == 401
    assert nginx.ask("/selcgi-auth", "alice")[0] == 404, "not for clients"
    assert len(selcgi.entries()) == served
