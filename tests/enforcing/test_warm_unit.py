"""Warm interpreters of contrib/systemd/selcgi.service as it stands, by its Unix user and with one of the scripts' own.

Needs systemd as PID 1, as tests/enforcing/test_unit.py does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site, web
from tests.enforcing.test_switches import switched_on
from tests.enforcing.test_unit import UNITS, nginx, script_user
from tests.stack import wait_until

__all__ = ["nginx", "script_user"]
pytestmark = pytest.mark.enforcing

DROP_IN = """[Service]
Environment=SELCGI_SERVE_WARM=/srv/cgi/*.py
Environment="SELCGI_SERVE_PRELOAD=json decimal"
"""
HELLO = """#!/usr/bin/python3
import os, pwd, sys
print("Content-Type: text/plain\\n")
print("json" in sys.modules and "decimal" in sys.modules, pwd.getpwuid(os.getuid()).pw_name)
print(open("/proc/self/attr/current").read().rstrip("\\0\\n"), open("/proc/self/cgroup").read())
"""


@pytest.fixture(autouse=True)
def warm() -> Iterator[None]:
    """The unit's own drop-in; the boolean for the domains that are shipped."""
    drop_in = site.write(UNITS / "selcgi.service.d" / "warm.conf", DROP_IN)
    with switched_on("selcgi_webapp_warm"):
        yield
    drop_in.unlink()


def zygotes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.run(*site.as_service(), "status", "--json"))["zygotes"]
    return [row for row in found if row["state"] == "ready"]


def test_a_request_is_warm_in_its_context_and_its_cgroup(nginx: web.WebServer) -> None:
    site.script("warm.py", HELLO)
    status, body = nginx.ask("warm.py", "alice")
    assert status == 200, body
    loaded, name, context, cgroup = body.split()
    assert (loaded, name, context) == ("True", "selcgi", site.context_of("alice"))
    assert "/selcgi.service/worker-" in cgroup
    wait_until("it is shown", zygotes)
    (row,) = zygotes()
    assert (row["domain"], row["account"]) == ("user_zygote_t", "")
    assert row["memory"] > 1 << 20
    site.run("systemctl", "stop", "selcgi")
    assert not Path(f"/proc/{row['pid']}").exists()


def test_one_of_the_scripts_own_unix_user(script_user: web.WebServer) -> None:
    """selcgi may not look into another user's process: its memory is not known."""
    site.script("warm.py", HELLO)
    status, body = script_user.ask("warm.py", "bob")
    assert status == 200, body
    assert body.split()[:3] == ["True", "selcgi-scripts", site.context_of("bob")]
    wait_until("it is shown", zygotes)
    (row,) = zygotes()
    assert (row["account"], row["memory"]) == ("selcgi-scripts", None)
