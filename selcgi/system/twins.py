"""What the loaded policy says of one domain, read by setools in the distribution's Python.

Decides nothing. The kernel gives its policy to root where the policy lets him read it (security read_policy), which it
does not let selcgi_t. Called by cli/learn.py.
"""

import json
import subprocess
import sys
from pathlib import Path

from selcgi.errors import PolicyUnreadable
from selcgi.policy.twin import Domain
from selcgi.system.policyfile import KERNEL, in_memory

_READER = Path(__file__).with_name("rulereader.py")
_PYTHON = "/usr/bin/python3"
_SECONDS = 120


def read_domain(name: str) -> Domain:
    """PolicyUnreadable when it can't be read, or has no such type."""
    try:
        with in_memory(KERNEL) as memory:
            done = subprocess.run(
                [_PYTHON, "-I", str(_READER), f"/proc/self/fd/{memory}", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                pass_fds=[memory],
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        fix = f"run it as root, in your own domain: {sys.executable} -m selcgi learn ..."
        raise PolicyUnreadable(f"the loaded policy cannot be read: {error}", fix) from error
    if done.returncode != 0:
        last = [*done.stderr.splitlines(), ""][-2:][0]
        raise PolicyUnreadable(f"the loaded policy cannot be read: {last}", "install python3-setools")
    found = json.loads(done.stdout)
    if not found["known"]:
        raise PolicyUnreadable(f"the loaded policy has no type {name}", "load the module that declares it")
    return Domain(name, tuple(found["attributes"]), tuple(found["roles"]), tuple(found["rules"]))
