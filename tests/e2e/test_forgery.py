"""Names and variables that somebody other than the web server has chosen, through the real web servers."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_web_servers import SHOW, Bare, shown
from tests.servers import PROOF, Apache, ApacheHandler, Nginx, Server
from tests.stack import Selcgi

pytestmark = pytest.mark.web


class Debian(Nginx):
    """With the fastcgi_params of the distribution, and no password."""

    name = "nginx as in debian"

    def site(self) -> str:
        kept = [line for line in super().site().splitlines() if "auth_basic" not in line and "AUTH_TYPE" not in line]
        return "\n".join(kept).replace("include selcgi-params.conf", "include /etc/nginx/fastcgi_params")


class Htaccess(ApacheHandler):
    """Whoever may write into a folder of scripts may set variables there."""

    name = "apache htaccess"
    modules = f"{ApacheHandler.modules} env"

    def site(self) -> str:
        return (
            super()
            .site()
            .replace("Require all granted\nSetHandler", "AllowOverride FileInfo\nRequire all granted\nSetHandler")
        )


class ErrorPage(Apache):
    """A place with a password, whose error page is a script that anybody may ask for."""

    name = "apache error page"

    def site(self) -> str:
        private = f"""Alias /private/ {self.folder}/nothing/
            <Location /private/>
                AuthType Basic
                AuthName selcgi
                AuthUserFile {self.folder}/selcgi-passwords
                Require valid-user
                ErrorDocument 404 /open/show.cgi
            </Location>
            </VirtualHost>"""
        return super().site().replace("</VirtualHost>", private)


@pytest.mark.parametrize(("kind", "status"), [(Bare, 200), (Debian, 403)], ids=lambda kind: getattr(kind, "name", ""))
def test_what_auth_type_proves(place: Place, serve: Serve, kind: type[Server], status: int) -> None:
    """That nginx has checked the name, as far as its configuration sends it there only; behind HAProxy nothing."""
    place.script("show.cgi", SHOW)
    with serve(identity="auth-type") as selcgi, kind(place.folder, place.cgi, selcgi.socket) as server:
        assert server.ask("show.cgi", "alice")[0] == status


@pytest.fixture
def selcgi(place: Place, serve: Serve) -> Iterator[Selcgi]:
    place.script("show.cgi", SHOW)
    with serve("--pass-param=REDIRECT_STATUS", identity=f"proof:{place.proof()}") as running:
        yield running


FORGED = ('ProxyFCGISetEnvIf "true" REMOTE_USER "bob"', "SetEnv REMOTE_USER bob", "SetEnv AUTH_TYPE Basic")


@pytest.mark.parametrize("lines", [FORGED[:1], FORGED[1:], FORGED], ids=["param", "variable", "both"])
def test_an_htaccess_author_becomes_nobody(selcgi: Selcgi, place: Place, lines: tuple[str, ...]) -> None:
    (place.cgi / ".htaccess").write_text("\n".join(lines) + "\n")
    with Htaccess(place.folder, place.cgi, selcgi.socket) as server:
        assert server.ask("show.cgi")[0] == 403
    entry = selcgi.entry()
    assert (entry["step"], entry["user"], "REMOTE_USER 'bob' came without" in entry["reason"]) == ("identity", "", True)


def test_an_htaccess_author_chooses_nothing_that_a_script_sees(selcgi: Selcgi, place: Place) -> None:
    names = (
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PATH",
        "HOME",
        "BASH_ENV",
        "PERL5OPT",
        "PYTHONPATH",
        "IFS",
        "HTTPS_PROXY",
    )
    (place.cgi / ".htaccess").write_text("".join(f"SetEnv {name} /tmp/evil\n" for name in names))
    with Htaccess(place.folder, place.cgi, selcgi.socket) as server:
        assert "/tmp/evil" not in str(shown(server.ask("show.cgi")))


def test_whoever_was_known_before_an_internal_redirect_is_not_after_it(selcgi: Selcgi, place: Place) -> None:
    """Apache calls the name REDIRECT_REMOTE_USER then."""
    with ErrorPage(place.folder, place.cgi, selcgi.socket) as server:
        seen = shown(server.ask("/private/x", "alice"))
    assert seen["REDIRECT_STATUS"] == "404", "as --pass-param has it: this was the redirect"
    assert not {"REMOTE_USER", "REDIRECT_REMOTE_USER", "AUTH_TYPE"} & set(seen)
    assert selcgi.entry()["user"] == ""


def test_a_name_that_nginx_sends_twice_is_refused(selcgi: Selcgi, place: Place) -> None:
    """nginx sends both; which of them counts would be a guess."""
    Nginx.extra = (
        f"location = /twice {{ fastcgi_param SCRIPT_FILENAME {place.cgi}/show.cgi; fastcgi_param SELCGI_PROOF {PROOF};"
        f" fastcgi_param REQUEST_METHOD GET; fastcgi_param REMOTE_USER alice; fastcgi_param REMOTE_USER bob;"
        f" fastcgi_pass unix:{selcgi.socket}; }}"
    )
    try:
        with Nginx(place.folder, place.cgi, selcgi.socket) as server:
            assert server.ask("/twice")[0] == 400
    finally:
        Nginx.extra = ""
    assert "REMOTE_USER came twice" in selcgi.entry()["reason"]
