"""Each switch of a domain and each boolean opens what it names, and nothing is open without it.

Asked by scripts: one domain a switch, a plain one beside them, and the shipped domains for the booleans. The servers
that are reached are the ones that the policy means: processes that came into their domains by their labels.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import load
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

PLACE = Path("/run/switches")
HOME = Path("/home/visitor")
MAIL = Path("/usr/sbin/sendmail")
GIT = Path("/usr/lib/git-core")
SERVER = """#!/usr/bin/perl
use IO::Socket::UNIX;
my $socket = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die;
chmod 0777, $ARGV[0];
sleep 600;
"""


def port(number: int) -> str:
    return f"socket.create_connection(('127.0.0.1', {number}))"


@dataclass(frozen=True)
class Way:
    """What a script tries, what becomes of it when it may, and the one denial when it may not."""

    switch: str
    boolean: str
    tries: str
    ends: str
    target: str
    tclass: str
    permission: str

    def __str__(self) -> str:
        return f"{self.switch}-{self.target}-{self.tclass}"


WAYS = [
    Way("connects", "", port(389), "ECONNREFUSED", "ldap_port_t", "tcp_socket", "name_connect"),
    Way("network", "connect_network", port(79), "ECONNREFUSED", "fingerd_port_t", "tcp_socket", "name_connect"),
    Way(
        "network",
        "connect_network",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "ok",
        "",
        "udp_socket",
        "create",
    ),
    Way("database", "connect_db", port(5432), "ECONNREFUSED", "postgresql_port_t", "tcp_socket", "name_connect"),
    Way("database", "connect_db", port(3306), "ECONNREFUSED", "mysqld_port_t", "tcp_socket", "name_connect"),
    Way("database", "connect_db", "connect('/run/postgresql/.s')", "ok", "postgresql_runtime_t", "dir", "search"),
    Way("database", "connect_db", "connect('/run/mysqld/mysqld.sock')", "ok", "mysqld_runtime_t", "dir", "search"),
    Way("mail", "send_mail", port(25), "ECONNREFUSED", "smtp_port_t", "tcp_socket", "name_connect"),
    Way("mail", "send_mail", f"subprocess.run(['{MAIL}'], check=True)", "ok", "sendmail_exec_t", "file", "execute"),
    Way("homes", "read_home", f"open('{HOME}/letter')", "ok", "home_root_t", "dir", "search"),
]
SWITCHES = sorted({way.switch for way in WAYS} | {"programs"})
ARGUMENTS = {"connects": " ldap_port_t"}


def domain(switch: str) -> str:
    return f"with_{switch}.webapp_t"


@contextmanager
def daemon(name: str, place: Path) -> Iterator[None]:
    """Something that listens at `place` in the domain NAME_t."""
    program = site.write(PLACE / name, SERVER, 0o755, f"{name}_exec_t:s0")
    place.parent.mkdir(exist_ok=True)
    site.run("restorecon", "-F", place.parent)
    with subprocess.Popen([program, place]) as process:
        try:
            wait_until(f"{place}", place.exists)
            assert f":{name}_t:" in Path(f"/proc/{process.pid}/attr/current").read_text()
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module", autouse=True)
def domains() -> None:
    # The servers are no more than Perl, which their domains may not run.
    lines = [
        "(typepermissive postgresql_t) (typepermissive mysqld_t)",
        "(block with_nothing (blockinherit selcgi_app))",
    ]
    for name in SWITCHES:
        lines.append(f"(block with_{name} (blockinherit selcgi_app))")
        lines.append(f"(call selcgi_webapp_{name} ({domain(name)}{ARGUMENTS.get(name, '')}))")
    load("switches", "\n".join(lines) + "\n")


@pytest.fixture(scope="module", autouse=True)
def world() -> Iterator[None]:
    """A home, a sendmail, and servers of databases."""
    site.write(HOME / "letter", "dear\n", 0o666, "user_home_t:s0")
    HOME.chmod(0o755)
    site.chcon(HOME, "user_home_dir_t:s0")
    site.write(MAIL, "#!/bin/sh\n:\n", 0o755, "sendmail_exec_t:s0")
    postgresql, mysqld = Path("/run/postgresql/.s"), Path("/run/mysqld/mysqld.sock")
    with daemon("postgresql", postgresql), daemon("mysqld", mysqld):
        yield
    MAIL.unlink()


@contextmanager
def serve() -> Iterator[Selcgi]:
    names = [*SWITCHES, "nothing"]
    text = "".join(f"{name} {domain(name)}:s0\n" for name in names) + site.rules()
    rules = site.write(site.MAP.with_name("switches.map"), text)
    with site.serving(f"--map={rules}", f"--root={GIT}") as running:
        yield running


@pytest.fixture(scope="module")
def serving() -> Iterator[Selcgi]:
    with serve() as running:
        yield running


def refused(avcs: Claims, source: str, way: Way) -> None:
    avcs.expect(source, way.target or source, way.tclass, way.permission)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_switch_opens_what_it_names_and_without_it_that_is_closed(serving: Selcgi, avcs: Claims, way: Way) -> None:
    assert attempt(serving, way.switch, way.tries) == [way.ends]
    assert attempt(serving, "nothing", way.tries) == ["EACCES"]
    refused(avcs, domain("nothing"), way)


@pytest.mark.parametrize("way", [way for way in WAYS if way.boolean], ids=str)
def test_a_boolean_opens_it_for_the_shipped_domains_alone(serving: Selcgi, avcs: Claims, way: Way) -> None:
    assert attempt(serving, "dora", way.tries) == ["EACCES"]
    refused(avcs, "staff_webapp_t", way)
    with switched_on(f"selcgi_webapp_{way.boolean}"):
        assert attempt(serving, "dora", way.tries) == [way.ends]
        assert attempt(serving, "nothing", way.tries) == ["EACCES"]
    refused(avcs, domain("nothing"), way)


@contextmanager
def switched_on(boolean: str) -> Iterator[None]:
    site.run("setsebool", boolean, "on")
    try:
        yield
    finally:
        site.run("setsebool", boolean, "off")


def test_a_port_is_opened_alone(serving: Selcgi, avcs: Claims) -> None:
    assert attempt(serving, "connects", port(25)) == ["EACCES"]
    avcs.expect(domain("connects"), "smtp_port_t", "tcp_socket", "name_connect")


def test_keys_at_home_stay_closed(serving: Selcgi, avcs: Claims) -> None:
    key = site.write(HOME / ".ssh" / "id", "secret\n", label="ssh_home_t:s0")
    assert attempt(serving, "homes", f"open({str(key)!r})", f"open('{HOME}/letter', 'a')") == ["EACCES", "EACCES"]
    avcs.expect(domain("homes"), "ssh_home_t", "file", "read")
    avcs.expect(domain("homes"), "user_home_t", "file", "append")


def test_programs_of_the_distribution_are_scripts_only_by_a_switch(serving: Selcgi, avcs: Claims) -> None:
    program = GIT / "git-http-backend"
    assert exit_of(serving, program, "programs") != ""
    for user, source in (("nothing", domain("nothing")), ("dora", "staff_webapp_t")):
        assert exit_of(serving, program, user) == ""
        avcs.expect(source, "bin_t", "file", "entrypoint")
    with switched_on("selcgi_webapp_run_programs"):
        assert exit_of(serving, program, "dora") != ""


def exit_of(serving: Selcgi, program: Path, user: str) -> str:
    """Empty when it was not started."""
    before = len(serving.entries())

    def lines() -> list[str]:  # of this request: the line of one before it may come late
        asked = {"user": user, "script": str(program)}
        return [str(line["exit"]) for line in serving.entries()[before:] if asked.items() <= line.items()]

    run_as(serving, program, user)
    wait_until("a line in the log", lines)
    return lines()[-1]


def test_mail_stays_in_the_domain_of_the_script(serving: Selcgi) -> None:
    site.write(MAIL, "#!/bin/sh\ntr -d '\\000' < /proc/self/attr/current\n", 0o755, "sendmail_exec_t:s0")
    script = site.script("mail.cgi", f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec {MAIL}\n")
    assert run_as(serving, script, "mail").text.strip() == f"system_u:system_r:{domain('mail')}:s0"


def test_every_boolean_is_off_as_shipped() -> None:
    found = [line.split() for line in site.run("getsebool", "-a").splitlines() if line.startswith("selcgi_")]
    assert {name: state for name, _, state in found} == {
        "selcgi_from_tcp": "off",
        "selcgi_serve_metrics": "off",
        "selcgi_webapp_connect_db": "off",
        "selcgi_webapp_connect_network": "off",
        "selcgi_webapp_read_home": "off",
        "selcgi_webapp_run_programs": "off",
        "selcgi_webapp_send_mail": "off",
        "selcgi_webapp_warm": "off",
    }
