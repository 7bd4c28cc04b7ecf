"""`selcgi check-front` against the five web servers: what it must find, what it must not, and that its lines help."""

import pytest

from selcgi.diagnose.finding import Question, Verdict, remedy
from tests.e2e.conftest import Place
from tests.e2e.fronts import (
    ROWS,
    Checked,
    PlainApache,
    PlainCaddy,
    PlainHAProxy,
    PlainLighttpd,
    PlainNginx,
    behind,
    check,
    label,
    read_table,
    row,
    run,
)
from tests.servers import PASSWORD, PROOF, SERVERS, Lighttpd, Nginx, Server, output
from tests.stack import wait_until

pytestmark = pytest.mark.web

PARAMS = "include /etc/nginx/fastcgi_params;"
SENDS_PROOF = f'{PARAMS}\nfastcgi_param SELCGI_PROOF "{PROOF}";'
HTACCESS = 'ProxyFCGISetEnvIf "true" REMOTE_USER "root"'


def altered(kind: type[Server], **attributes: object) -> type[Server]:
    return type("Altered", (kind,), attributes)


def checked(place: Place, kind: type[Server], identity: str = "remote-user", user: str = "") -> Checked:
    with behind(kind, place, identity) as (server, _):
        return check(place, server, user)


@pytest.mark.parametrize("which", ROWS, ids=lambda which: label(*which))
def test_the_page_is_true(which: tuple[type[Server], str, str]) -> None:
    assert row(*which) == read_table()[label(*which)]


def test_the_page_has_the_known_answers() -> None:
    """However often it is written anew: these two send names that nobody has checked, no file of contrib/ does."""
    forged = {name for name, (code, *_) in read_table().items() if code == "1"}
    assert forged == {"nginx, plain | remote-user", "haproxy, plain | remote-user", "haproxy, plain | auth-type"}
    assert [cells[1:8] for name, cells in read_table().items() if "contrib" in name] == [
        ["no"] * 5 + ["does not arrive", "it does not"]
    ] * 10


@pytest.mark.parametrize(
    ("kind", "identity", "question", "verdict"),
    [
        # The proof goes where nobody asks for a password: with Debian's file any name is believed, even so.
        (altered(PlainNginx, params=lambda _: SENDS_PROOF), "proof", Question.UNCHECKED, "forged"),
        (altered(PlainNginx, params=lambda _: SENDS_PROOF.replace(PARAMS, "include selcgi-params.conf;")), "proof",
         Question.PROOF, "note"),
        (altered(PlainNginx, params=lambda _: "include selcgi-params.conf;\n"
         "fastcgi_param REMOTE_USER $http_remote_user;"), "remote-user", Question.HEADER, "forged"),
        (altered(PlainNginx, add="if ($http_authorization) { return 503; }"), "proof", Question.UNCHECKED, "unknown"),
        (altered(PlainNginx, add="fastcgi_ignore_client_abort on;"), "proof", Question.LOST_CLIENT, "note"),
        (altered(PlainNginx, add="client_max_body_size 100k;"), "proof", Question.CHUNKED, "note"),
        (altered(PlainApache, htaccess=HTACCESS), "remote-user", Question.NOBODY, "forged"),
        (altered(PlainApache, add='SetEnvIf Remote-User "(.+)" REMOTE_USER=$1'), "remote-user", Question.HEADER,
         "forged"),
        (altered(PlainLighttpd, add='setenv.add-environment = ("REMOTE_USER" => "guest")'), "remote-user",
         Question.NOBODY, "forged"),
        (altered(PlainLighttpd, add="server.stream-request-body = 2"), "proof", Question.CHUNKED, "note"),
        (altered(PlainHAProxy, param="set-param REMOTE_USER %[req.hdr(X-Remote-User)]"), "remote-user", Question.HEADER,
         "forged"),
        (altered(PlainCaddy, env="env REMOTE_USER {http.request.header.Remote-User}"), "remote-user", Question.HEADER,
         "forged"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(
    place: Place, kind: type[Server], identity: str, question: Question, verdict: Verdict
) -> None:
    found = checked(place, kind, identity)
    assert found.verdict(question) == verdict, found
    assert found.findings[question]["add"] or verdict == "unknown"
    assert found.code == {"forged": 1, "unknown": 3}.get(verdict, 0)


def lines(server: str, *questions: Question) -> str:
    return "\n".join(remedy(question, server) for question in questions)


def unsent() -> str:
    """Debian's file with the line of the finding in place of the one that sends the name."""
    with open("/etc/nginx/fastcgi_params") as file:
        kept = [line for line in file if "REMOTE_USER" not in line]
    return "".join(kept) + remedy(Question.UNCHECKED, "nginx").partition(" in place")[0]


HEADERS = Question.HTTP_PROXY, Question.CREDENTIALS


@pytest.mark.parametrize(
    ("kind", "questions"),
    [
        (
            altered(
                PlainNginx,
                params=lambda _: unsent(),
                add=lines("nginx", *HEADERS, Question.HEAD, Question.CHUNKED, Question.LOST_CLIENT),
            ),
            list(Question),
        ),
        (
            altered(PlainApache, htaccess=HTACCESS, add="AllowOverride None"),
            [Question.NOBODY, Question.UNCHECKED, Question.HEADER, Question.DUPLICATE],
        ),
        (
            altered(PlainLighttpd, add=lines("lighttpd", Question.CREDENTIALS, Question.CHUNKED)),
            [Question.CREDENTIALS, Question.CHUNKED],
        ),
        (
            altered(
                PlainHAProxy,
                add=remedy(Question.UNCHECKED, "haproxy").partition(",")[0],
                section_global=remedy(Question.HEAD, "haproxy"),
            ),
            [Question.UNCHECKED, Question.DUPLICATE, Question.HEAD],
        ),
        (
            altered(
                PlainCaddy,
                add=lines("caddy", *HEADERS),
                env=remedy(Question.UNCHECKED, "caddy").partition(" in place")[0],
            ),
            [Question.NOBODY, Question.HEADER, *HEADERS],
        ),
    ],
    ids=["nginx", "apache", "lighttpd", "haproxy", "caddy"],
)
def test_its_lines_help(place: Place, kind: type[Server], questions: list[Question]) -> None:
    found = checked(place, kind)
    assert {question: found.findings[question]["answer"] for question in questions if question in found.findings
            and found.verdict(question) != "good"} == {}  # fmt: skip
    assert found.code == 0


def test_lighttpd_still_asks_for_the_password_that_it_keeps_to_itself(place: Place) -> None:
    class Keeps(Lighttpd):
        def line(self) -> list[str]:
            words = super().line()
            path = self.folder / "selcgi.conf"
            path.write_text(f"{path.read_text()}\n{remedy(Question.CREDENTIALS, 'lighttpd')}\n")
            return words

    found = checked(place, Keeps, "proof", "alice")
    assert (found.verdict(Question.ACCOUNT), found.verdict(Question.CREDENTIALS)) == ("good", "good")


def test_an_account(place: Place) -> None:
    """In a place that asks for no password its account counts as anybody's, with a wrong password too."""
    with behind(PlainNginx, place, "remote-user") as (server, selcgi):
        done = run(place, f"--auth=alice:{PASSWORD}", server.url("show.cgi"))
        assert done.returncode == 1
        assert "good    the account                   alice counts as alice\n" in done.stdout
        assert "forged  a name without its password   Basic: the request counts as selcgi-forged\n" in done.stdout
        assert "and identity=proof:FILE in --listen of selcgi serve" in done.stdout
        assert not (place.marks / "ran").exists(), "no script runs"
        wait_until("the log", lambda: len(selcgi.entries()) > 10)
        assert {entry["step"] for entry in selcgi.entries()} == {"probe"}
        assert server.ask("show.cgi")[0] == 502
        wait_until("afterwards scripts run again", (place.marks / "ran").exists)


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_without_the_password_nothing_is_said(place: Place, kind: type[Server]) -> None:
    with behind(kind, place, "proof") as (server, _):
        done = run(place, server.url("show.cgi", "alice"))
        assert (done.returncode, done.stdout) == (3, "")
        assert "the web server asks for a password and lets no probe through; give --auth" in done.stderr
        done = run(place, server.url("show.cgi", "alice"), SELCGI_CHECK_FRONT_AUTH="alice:wrong")
        assert (done.returncode, done.stdout) == (3, "")
        assert "is the password right?" in done.stderr


def test_a_web_server_that_locks_out_is_not_taken_for_a_safe_one(place: Place) -> None:
    locks = (
        "stick-table type ip size 1k expire 1m store http_req_cnt\n    http-request track-sc0 src\n"
        "    http-request deny deny_status 403 if { sc_http_req_cnt(0) gt 2 }"
    )
    found = checked(place, altered(PlainHAProxy, add=locks))
    assert found.verdict(Question.UNCHECKED) == "good"
    assert (found.verdict(Question.LAST), found.code) == ("unknown", 3)
    assert "is answered with 403 now" in found.findings[Question.LAST]["answer"]


def test_https(place: Place) -> None:
    """A certificate that nobody has signed is taken only when told so."""
    paths = [f"{place.folder}/{name}" for name in ("key", "certificate")]
    output(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=localhost", "-keyout", paths[0], "-out", paths[1]])  # fmt: skip

    class Encrypted(PlainNginx):
        def site(self) -> str:
            listen = f"listen 127.0.0.1:{self.port}"
            certificate = f"ssl_certificate_key {paths[0]}; ssl_certificate {paths[1]};"
            return super().site().replace(f"{listen};", f"{listen} ssl; {certificate}")

    with behind(Encrypted, place, "proof") as (server, _):
        url = server.url("show.cgi").replace("http:", "https:")
        done = run(place, url)
        assert (done.returncode, done.stdout) == (3, "")
        assert "has no valid certificate" in done.stderr
        done = run(place, "--insecure", url)
        assert done.returncode == 0, done.stderr
        assert "good    a lost client                 is reported\n" in done.stdout


def test_the_password_is_asked_for(place: Place) -> None:
    with behind(Nginx, place, "proof") as (server, _):
        done = run(place, "--auth=alice", server.url("show.cgi", "alice"), typed=f"{PASSWORD}\n")
        assert "good    the account                   alice counts as alice\n" in done.stdout
        assert done.returncode == 0


def test_what_it_can_not_ask(place: Place) -> None:
    with behind(Nginx, place, "proof") as (server, selcgi):
        url = server.url("show.cgi")
        for words, code, says in (
            (["ftp://localhost/"], 2, "'ftp://localhost/' is no http://HOST/PATH"),
            (["http://localhost/a b"], 2, "must be percent-encoded"),
            (["--auth=:x", url], 2, "no user before the colon"),
            (["http://127.0.0.1:1/"], 3, "no web server answers at 127.0.0.1:1"),
            ([f"http://127.0.0.1:{server.port}/"], 3, "no probe got through to this selcgi, the answer was 200"),
            ([f"--control={place.folder}/none", url], 3, "no selcgi answers at"),
        ):
            done = run(place, *words)
            assert (done.returncode, done.stdout, says in done.stderr) == (code, "", True), done.stderr
        assert PROOF not in selcgi.log()
