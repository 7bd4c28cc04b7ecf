"""A warm start beside a cold one, in enforcing mode: the kernel says the same of both, their context included."""

import json
import re
from typing import Any

import pytest

from tests.e2e.test_warm_birth import SCRIPT
from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.warm import rules, serving

pytestmark = pytest.mark.enforcing

LIMITS = "memory=400M cpu=30s processes=300 files=200 file-size=7M nice=7"
ATTRIBUTES = ("current", "exec", "fscreate", "keycreate", "sockcreate")
CONTEXTS = "FILES += " + repr(tuple(f"attr/{name}" for name in ATTRIBUTES)) + "\nLIBC ="


def shown(warm: str) -> dict[str, Any]:
    script = site.script("show.py", SCRIPT.replace("LIBC =", CONTEXTS, 1))
    with serving(text=rules(f"{LIMITS} {warm}")) as selcgi:
        answer = run_as(selcgi, script, "alice")
        assert answer.body, selcgi.log() + answer.stderr.decode()
        assert selcgi.entry().get("launch", "cold") == ("warm" if warm else "cold")
    found: dict[str, Any] = json.loads(answer.body)
    found["cgroup"] = re.sub("leaf-[0-9]+", "leaf", found["cgroup"])
    return found


def test_a_warm_start_is_what_a_cold_one_is() -> None:
    cold, warm = shown(""), shown("warm=yes")
    assert warm["attr/current"].rstrip("\0") == site.context_of("alice")
    differing = {name: (cold[name], warm[name]) for name in cold if cold[name] != warm[name]}
    # The guest's kernel has no CONFIG_CHECKPOINT_RESTORE, and so no PR_GET_TID_ADDRESS: see zygote/birth.py.
    assert differing.keys() == {"cmdline", "environ", "worker", "clock of the thread"}, differing
