"""The whole way in enforcing mode: browser, web server in httpd_t, selcgi in selcgi_t, script in the user's domain."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.enforcing.web import WebServer
from tests.stack import Selcgi

pytestmark = pytest.mark.enforcing

REPORT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
echo "$(tr -d '\\000' < /proc/self/attr/current) $REMOTE_USER $SCRIPT_NAME $PATH_INFO"
"""
ECHO = """#!/usr/bin/python3
import os
os.write(1, b"Content-Type: application/octet-stream\\n\\n")
while piece := os.read(0, 65536):
    while piece:
        piece = piece[os.write(1, piece) :]
"""
GIT = ("--root=/usr/lib/git-core", "--env=GIT_PROJECT_ROOT=/srv/git", "--env=GIT_HTTP_EXPORT_ALL=1")


@pytest.fixture
def proven() -> Iterator[Selcgi]:
    with site.serving("--cgroup=none", *GIT, identity=f"proof:{site.PROOF},peer-type=httpd_t") as running:
        yield running


@pytest.fixture(params=["nginx", "apache"])
def web(request: pytest.FixtureRequest, proven: Selcgi) -> Iterator[WebServer]:
    assert proven.process is not None
    with WebServer(request.param) as server:
        yield server


def test_every_user_is_served_in_the_users_context(web: WebServer) -> None:
    path = site.script("report.cgi", REPORT)
    for user in ("alice", "bob", "dora"):
        expected = f"{site.context_of(user)} {user} /cgi-bin/{path.name} /a b\n"
        assert web.ask(f"{path.name}/a%20b?x", user) == (200, expected)
    assert web.ask(f"{path.name}/x") == (200, f"{site.context_of('')}  /open/{path.name} /x\n")


def test_carol_has_no_rule_and_a_wrong_password_no_entry(web: WebServer, proven: Selcgi) -> None:
    path = site.script("report.cgi", REPORT)
    assert web.ask(path.name, "carol")[0] == 403
    assert proven.entry()["step"] == "mapping"
    assert web.ask(path.name, "", "-u", "alice:wrong")[1].split()[1] == "/open/report.cgi"
    url = f"http://127.0.0.1/cgi-bin/{path.name}"
    assert site.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", "alice:wrong", url) == "401"


def test_large_bodies_go_up_and_down(web: WebServer, proven: Selcgi, tmp_path: Path) -> None:
    """Through pipes of selcgi_t, spliced into the web server's socket: the kernel asks for each of them."""
    path = site.script("echo.cgi", ECHO)
    upload, echo = tmp_path / "upload", tmp_path / "echo"
    upload.write_bytes(os.urandom(4_000_000))
    options = ("--data-binary", f"@{upload}", "-o", str(echo))
    assert web.ask(path.name, "alice", *options) == (200, "")
    assert echo.read_bytes() == upload.read_bytes()
    assert proven.entry()["bytes_in"] == 4_000_000


def test_a_peer_of_another_type_is_not_let_in(proven: Selcgi) -> None:
    from tests.stack import Ask, ask

    path = site.script("report.cgi", REPORT)
    answer = ask(proven.socket, Ask(str(path), "alice"))
    assert (answer.complete, answer.status) == (False, 0)
    assert "initrc_t" in proven.log()


# What HAProxy asks for at its start and Debian's own policy does not give it: certificates, and more.
NOISE = (("usr_t", "file", "read"), ("sysctl_vm_t", "dir", "search"), ("urandom_device_t", "chr_file", "read"))


def test_haproxy_is_let_in_by_a_type_of_its_own(avcs: Claims) -> None:
    """Where the policy has none (Debian 12's), it is labelled as contrib/WEB-SERVERS.md says."""
    path = site.script("report.cgi", REPORT)
    program = Path("/usr/sbin/haproxy")
    domain = "haproxy_t" if "haproxy_exec_t" in site.run("matchpathcon", program) else "httpd_t"
    if domain == "httpd_t":
        site.chcon(program, "httpd_exec_t:s0")
    with site.serving(identity=f"proof:{site.PROOF},peer-type={domain}"), WebServer("haproxy") as web:
        for user in ("alice", "bob"):
            assert web.ask(path.name, user) == (200, f"{site.context_of(user)} {user} /cgi-bin/{path.name} \n")
        assert web.ask(path.name) == (200, f"{site.context_of('')}  /open/{path.name} \n")
        assert web.ask(path.name, "carol")[0] == 403
    for target, tclass, permission in NOISE:
        if any(f":{domain}:s0 -> system_u:object_r:{target}:" in one for one in avcs.unclaimed):
            avcs.expect(domain, target, tclass, permission)


def test_git_clones_and_pushes_as_the_user_that_the_web_server_knows(
    proven: Selcgi, avcs: Claims, tmp_path: Path
) -> None:
    repository = make_repository()
    site.run("setsebool", "selcgi_webapp_run_programs", "on")
    with WebServer("nginx"):
        url = f"http://alice:{site.PASSWORD}@127.0.0.1/git/project.git"
        site.run("git", "clone", "-q", url, tmp_path / "work")
        work = ("git", "-C", tmp_path / "work", "-c", "user.name=Alice", "-c", "user.email=alice@example.org")
        (tmp_path / "work" / "big.bin").write_bytes(bytes(range(256)) * 8192)
        site.run(*work, "add", ".")
        site.run(*work, "commit", "-q", "-m", "from alice")
        site.run(*work, "push", "-q", "origin", "HEAD:main")
        site.run("git", "clone", "-q", "-b", "main", url, tmp_path / "again")
        assert (tmp_path / "again" / "big.bin").read_bytes() == (tmp_path / "work" / "big.bin").read_bytes()
        bob = url.replace("alice", "bob")
        with pytest.raises(AssertionError, match="fatal"):
            site.run("git", "clone", "-q", bob, tmp_path / "bob")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "dir", "search")
    assert "alice@example.org" in site.run("git", "-C", repository, "log", "-1", "--format=%ae", "main")
    assert {entry["user"] for entry in proven.entries()} == {"alice", "bob"}


def make_repository() -> Path:
    """A bare repository of alice: her domain's data, at her level."""
    repository = Path("/srv/git/project.git")
    site.run("git", "init", "-q", "--bare", "-b", "main", repository)
    site.write(Path("/etc/gitconfig"), "[safe]\n    directory = *\n")  # for the test's own look, as root
    site.run("chown", "-R", "selcgi:selcgi", repository)
    label = "system_u:object_r:user_webapp_rw_t:s0:c1"
    site.run("chcon", "-R", label, repository)
    site.run("chcon", "system_u:object_r:user_webapp_content_t:s0", repository.parent)
    return repository
