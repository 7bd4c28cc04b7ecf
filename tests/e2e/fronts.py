"""Web servers as their manuals and Debian's files have them, nobody asked for a password, and the mistakes of sites.

The table of contrib/WEB-SERVERS.md that says what `selcgi check-front` finds comes from these and from contrib/:
`python -m tests.e2e.fronts` writes it anew. `add` are lines in the place of the scripts.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selcgi.diagnose.finding import Question
from tests.e2e.conftest import USER, Place
from tests.servers import PASSWORD, SERVERS, Apache, Caddy, HAProxy, Lighttpd, Nginx, Server
from tests.stack import PROGRAM, TREE, Selcgi

PAGE = TREE / "contrib" / "WEB-SERVERS.md"
BEGIN, END = "<!-- table: python -m tests.e2e.fronts -->\n", "<!-- end of table -->\n"
COLUMNS = tuple(one for one in Question if one not in (Question.ACCOUNT, Question.LAST))


class PlainNginx(Nginx):
    """Debian's own fastcgi_params."""

    name = "nginx plain"
    add = ""

    def site(self) -> str:
        return (
            f"server {{ listen 127.0.0.1:{self.port}; location ~ ^/open(?<path>/.+)$ {{\n"
            f"{self.params()}\nfastcgi_param SCRIPT_FILENAME {self.cgi}$path; fastcgi_pass unix:{self.selcgi};\n"
            f"{self.add}\n}} }}"
        )

    def params(self) -> str:
        return "include /etc/nginx/fastcgi_params;"


class PlainApache(Apache):
    """SetHandler, and what the folder's .htaccess says."""

    name = "apache plain"
    modules = f"{Apache.modules} headers"
    add = ""
    htaccess = ""

    def site(self) -> str:
        (self.cgi / ".htaccess").write_text(self.htaccess)
        return (
            f"Alias /open/ {self.cgi}/\n<Directory {self.cgi}>\nRequire all granted\nAllowOverride FileInfo\n"
            f'SetHandler "proxy:unix:{self.selcgi}|fcgi://localhost/"\n{self.add}\n</Directory>\n'
        )


class PlainLighttpd(Lighttpd):
    name = "lighttpd plain"
    add = ""

    def line(self) -> list[str]:
        words = super().line()
        self.write(
            "selcgi.conf",
            f'server.modules += ("mod_alias", "mod_fastcgi", "mod_setenv")\nalias.url += ("/open/" => "{self.cgi}/")\n'
            f'fastcgi.server = ("/open/" => (("socket" => "{self.selcgi}")))\n{self.add}\n',
        )
        return words


class PlainHAProxy(HAProxy):
    """As its manual has it."""

    name = "haproxy plain"
    add = ""
    section_global = ""
    param = ""

    def site(self) -> str:
        shipped = super().site()
        users = shipped[shipped.index("userlist") : shipped.index("frontend")]
        return (
            f"global\n    {self.section_global}\ndefaults\n    mode http\n    timeout client 60s\n"
            f"    timeout connect 5s\n    timeout server 60s\n{users}\nfrontend web\n    bind :80\n"
            f"    default_backend cgi\nbackend cgi\n    {self.add}\n    http-request replace-path ^/open(/.*)$ \\1\n"
            f"    use-fcgi-app cgi\n    server cgi unix@{self.selcgi} proto fcgi\nfcgi-app cgi\n"
            f"    docroot {self.cgi}\n    path-info ^(/.+\\.cgi)(/.*)?$\n    {self.param}\n"
        )


class PlainCaddy(Caddy):
    name = "caddy plain"
    add = ""
    env = ""

    def line(self) -> list[str]:
        words = super().line()
        self.write(
            "Caddyfile",
            f"{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{self.port} {{\n\thandle_path /open/* {{\n"
            f"\t\treverse_proxy unix/{self.selcgi} {{\n\t\t\t{self.add}\n\t\t\ttransport fastcgi {{\n"
            f"\t\t\t\troot {self.cgi}\n\t\t\t\tsplit .cgi\n\t\t\t\t{self.env}\n\t\t\t}}\n\t\t}}\n\t}}\n}}\n",
        )
        return words


PLAIN: tuple[type[Server], ...] = (PlainNginx, PlainApache, PlainLighttpd, PlainHAProxy, PlainCaddy)


@dataclass(frozen=True)
class Checked:
    """What the program printed and said, with --json."""

    code: int
    findings: dict[str, dict[str, str]]
    stderr: str

    def verdict(self, question: Question) -> str:
        return self.findings[question]["verdict"]


@contextmanager
def behind(kind: type[Server], place: Place, identity: str) -> Iterator[tuple[Server, Selcgi]]:
    """A web server of the kind, in front of a selcgi with a control socket."""
    place.script("show.cgi", f"#!/bin/sh\ntouch {place.marks}/ran\n")
    proof = place.proof()
    options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--workers=2")
    listens = f"proof:{proof}" if identity == "proof" else identity
    with (
        Selcgi(place.folder, *options, f"--control={place.folder}/control.sock", identity=listens) as selcgi,
        kind(place.folder, place.cgi, selcgi.socket) as server,
    ):
        yield server, selcgi


def run(place: Place, *words: str, typed: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Without a terminal of its own, so that a password is read from `typed`."""
    line = [*PROGRAM, "check-front", f"--control={place.folder}/control.sock", *words]
    variables = {**os.environ, "PYTHONPATH": str(TREE), **environ}
    return subprocess.run(
        line,
        input=typed,
        capture_output=True,
        text=True,
        env=variables,
        timeout=120,
        check=False,
        start_new_session=True,
    )


def check(place: Place, server: Server, user: str = "") -> Checked:
    """`user`: in the place with a password, and with that password."""
    account = [f"--auth={user}:{PASSWORD}"] if user else []
    done = run(place, "--json", *account, server.url("show.cgi", user))
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"] if done.stdout else []
    return Checked(done.returncode, {one["question"]: one for one in found}, done.stderr)


# Configuration, the identity= of its listener, the account.
ROWS: tuple[tuple[type[Server], str, str], ...] = (
    *((kind, "proof", "alice") for kind in SERVERS),
    *((kind, "proof", "") for kind in SERVERS),
    *((kind, "remote-user", "") for kind in PLAIN),
    (PlainNginx, "auth-type", ""),
    (PlainHAProxy, "auth-type", ""),
    (PlainNginx, "proof", ""),
    (PlainHAProxy, "proof", ""),
)


def label(kind: type[Server], identity: str, user: str) -> str:
    if kind in PLAIN:
        return f"{kind.name.replace(' ', ', ')} | {identity}"
    return f"{kind.name}, contrib, {'/cgi-bin/' if user else '/open/'} | {identity}"


def row(kind: type[Server], identity: str, user: str) -> list[str]:
    folder = Path(tempfile.mkdtemp(prefix="selcgi-fronts-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        place = Place(folder)
        with behind(kind, place, identity) as (server, _):
            return cells(check(place, server, user))
    finally:
        shutil.rmtree(folder)


def cells(checked: Checked) -> list[str]:
    """The exit code, then a cell for each question but the account's."""
    found = [checked.findings[question] for question in COLUMNS]
    return [str(checked.code), *map(_cell, found)]


def _cell(finding: dict[str, str]) -> str:
    short = finding["answer"].partition(";")[0].partition(",")[0].partition(":")[0]
    by_name = finding["question"].startswith(("a name", "the proof"))
    if finding["verdict"] == "forged":
        return f"**forged**, {short}"
    return short if not by_name else "no" if finding["verdict"] == "good" else short


def table(rows: list[list[str]]) -> str:
    titles = ["configuration", "identity=", "exit", *COLUMNS]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [f"| {label(*which)} | {' | '.join(found)} |" for which, found in zip(ROWS, rows, strict=True)]
    return "\n".join(lines) + "\n"


def read_table() -> dict[str, list[str]]:
    """The page's table: configuration and identity -> cells."""
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[one.strip() for one in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    return {f"{name} | {identity}": found for name, identity, *found in rows}


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    rows = [row(*which) for which in ROWS]
    PAGE.write_text(before + BEGIN + table(rows) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
