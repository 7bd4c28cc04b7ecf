"""Contexts from a directory: real Apache with real OpenLDAP and real PostgreSQL, by the configurations of contrib/."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.directories import ApacheDbd, ApacheLdap, Directory, OpenLdap, PostgreSql
from tests.e2e.conftest import USER, Place
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.web

SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n"
PEOPLE = {
    "alice": "user_webapp_t:s0:c7",
    "bob": None,
    "carol": None,
    "dave": "deny",
    "erin": "selcgi_t:s0",
    "frank": "user_webapp_t:s0:c1 sendfile=yes",
    "grace": "root; reboot",
    "heidi": "system_u:system_r:user_webapp_t:s0",
}
KINDS: dict[str, tuple[type[Directory], Any]] = {"ldap": (OpenLdap, ApacheLdap), "pgsql": (PostgreSql, ApacheDbd)}


@dataclass(frozen=True)
class Site:
    place: Place
    selcgi: Selcgi
    apache: Any

    def ask(self, user: str, *options: str, query: str = "") -> tuple[int, str, dict[str, Any]]:
        """Status, what the script printed, and its line of the log."""
        before = len(self.selcgi.entries())
        status, body = self.apache.ask(f"show.cgi{query}", user, *options)
        wait_until("its line in the log", lambda: len(self.selcgi.entries()) > before)
        return status, body, self.selcgi.entry()


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, place: Place) -> Iterator[Site]:
    directory, apache = KINDS[request.param]
    place.script("show.cgi", SHOW)
    place.rules("bob user_webapp_t:s0:c2", "* deny")
    proof = place.proof()
    with directory(place.folder, PEOPLE) as there, selcgi(place, apache.param, proof) as running:
        server = apache(place.folder, place.cgi, running.socket)
        server.directory_port = there.port
        with server:
            yield Site(place, running, server)


def selcgi(place: Place, param: str, proof: Path) -> Selcgi:
    sources = (f"--map=param:{param}", "--param-domain=user_webapp_t", f"--map={place.map}")
    options = ("--selinux=off", *sources, f"--root={place.cgi}", f"--script-user={USER}", "--workers=1")
    return Selcgi(place.folder, *options, identity=f"proof:{proof},map-param={param}")


def test_what_the_directory_says_of_each(site: Site) -> None:
    """One start of a directory is seconds: all that is asked of it without forging, in one test."""
    param, file = f"param:{site.apache.param}", "site.map"
    status, body, entry = site.ask("alice")
    assert (status, entry["rule"], entry["user"]) == (200, param, "alice")
    assert entry["context"].endswith(":user_webapp_t:s0:c7")
    assert site.apache.param not in body
    assert "REMOTE_USER=alice" in body
    for user, rule in (("bob", f"{file}:1"), ("carol", f"{file}:2")):
        status, _, entry = site.ask(user)
        assert (status, entry["rule"]) == (200 if user == "bob" else 403, rule), "nothing is said of them there"
    for user, word in (("dave", "says deny"), ("erin", "none that a param may choose"), ("frank", "is no range"),
                       ("grace", "is no SELinux domain"), ("heidi", "has a user and a role")):  # fmt: skip
        status, _, entry = site.ask(user)
        assert (status, entry["rule"], entry["step"]) == (403, param, "mapping")
        assert word in entry["reason"]
        assert site.apache.param in entry["reason"]


def test_a_client_can_not_say_it(site: Site) -> None:
    param = site.apache.param
    dashed = param.replace("_", "-")
    said = "user_webapp_t:s0:c7"
    forged = ["-H", f"{param}: {said}", "-H", f"{dashed}: {said}", "-H", f"Cookie: {param}={said}"]
    status, body, entry = site.ask("bob", *forged, query=f"?{param}={said}")
    assert (status, entry["rule"]) == (200, "site.map:1")
    assert entry["context"].endswith(":c2")
    assert f"HTTP_{param}={said}" in body, "it arrived, as a header"
    assert site.apache.ask("show.cgi", "bob", "-u", "bob:wrong")[0] == 401


def test_another_spelling_of_a_name_is_the_same_user_or_none(site: Site) -> None:
    """Directories do not mind the case; rules do."""
    if isinstance(site.apache, ApacheDbd):
        assert site.apache.ask("show.cgi", "BOB")[0] == 401
        return
    status, _, entry = site.ask("BOB")
    assert (status, entry["user"], entry["rule"]) == (200, "bob", "site.map:1")
