"""contrib/systemd/selcgi-avc.* as they stand, under a real systemd, with nginx and selcgi's own unit.

Needs systemd as PID 1, so bin/test boots a guest of its own kind for this file.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site, test_unit, web
from tests.enforcing.conftest import Claims
from tests.stack import wait_until

pytestmark = pytest.mark.enforcing

nginx = test_unit.nginx


@pytest.fixture
def listener(nginx: web.WebServer) -> Iterator[web.WebServer]:
    """The same with the denial listener, which systemd starts when a worker connects."""
    for name in ("selcgi-avc.service", "selcgi-avc.socket"):
        site.write(test_unit.UNITS / name, (site.TREE / "contrib" / "systemd" / name).read_text())
    site.run("systemctl", "daemon-reload")
    site.run("systemctl", "start", "selcgi-avc.socket")
    wait_until("a worker hears it", lambda: status()["denials"]["listener"] > 0, pause=0.5)
    yield nginx
    site.run("systemctl", "stop", "selcgi-avc.socket", "selcgi-avc")


def status() -> Any:
    return json.loads(site.run(*site.as_service(), "status", "--json"))


def test_refusals_are_told_by_a_unit_that_can_do_nothing_else(listener: web.WebServer, avcs: Claims) -> None:
    """Killed, it is back with the next connection of a worker."""
    site.script("peek.cgi", f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat {site.OWN['bob'][0]}\nexit 0\n")
    before = 0
    for _ in range(2):
        assert listener.ask("peek.cgi", "alice")[0] == 200
        wait_until("the refusal is told", lambda old=before: status()["denials"]["counts"]["joined"] > old, pause=0.5)
        before = status()["denials"]["counts"]["joined"]
        pid = int(site.run("systemctl", "show", "-P", "MainPID", "selcgi-avc"))
        process = Path(f"/proc/{pid}/status").read_text()
        assert test_unit.capabilities(process) == {**dict.fromkeys(("Inh", "Prm", "Eff", "Bnd", "Amb"), 1 << 37)}
        assert "NoNewPrivs:\t1" in process
        assert "Uid:\t0\t" not in process
        context = Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0\n")
        assert context == "system_u:system_r:selcgi_avc_t:s0"
        os.kill(pid, signal.SIGKILL)
        wait_until("it is missed", lambda old=pid: not Path(f"/proc/{old}").exists())
        wait_until("it is heard again", lambda: status()["denials"]["listener"] > 0, pause=0.5)
    record = json.loads(site.run(*site.as_service(), "failures", "--kind=denied", "--json").splitlines()[-1])
    assert (record["user"], record["status"]) == ("alice", 200)
    assert "by its program cat, (user_webapp_t:s0:c1) wanted to read bob.txt" in record["denied"][0]
    avcs.claim_all_of("user_webapp_t")
