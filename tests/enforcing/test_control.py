"""The control socket is for selcgi's own people: a web server, as root even, is refused by the type of its folder."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

FOLDER = site.RUNTIME / "control"
CONTROL = FOLDER / "control.sock"
# A program of the web server's, started by its label as the server itself is.
ASKER = """#!/usr/bin/perl
use IO::Socket::UNIX;
print IO::Socket::UNIX->new(Peer => $ARGV[0]) ? "connected" : "$!";
"""


@pytest.fixture
def selcgi() -> Iterator[Selcgi]:
    """With the folder that the unit's RuntimeDirectory= makes."""
    site.run("install", "-d", "-o", "selcgi", "-m", "0700", FOLDER)
    with site.serving("--cgroup=none", f"--control={CONTROL}") as running:
        wait_until("the control socket", CONTROL.exists)
        yield running


def as_web_server(door: Path) -> str:
    program = site.write(Path("/run/asker"), ASKER, 0o755, "httpd_exec_t:s0")
    return subprocess.run([program, door], capture_output=True, text=True, check=True, timeout=30).stdout


def test_a_web_server_is_refused_and_selcgis_user_is_answered(selcgi: Selcgi, avcs: Claims) -> None:
    assert as_web_server(selcgi.socket) == "connected"
    assert as_web_server(CONTROL) == "Permission denied"
    avcs.expect("httpd_t", "httpd_t", "capability", "dac_read_search")  # the folder's mode; dac_override it has
    avcs.expect("httpd_t", "selcgi_control_t", "dir", "search")
    found = json.loads(site.run(*site.as_service(), "status", f"--control={CONTROL}", "--json"))
    assert found["selinux"] == "enforcing"
    assert site.run("stat", "-c", "%C", FOLDER, CONTROL).split() == ["system_u:object_r:selcgi_control_t:s0"] * 2
