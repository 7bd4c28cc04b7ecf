"""What semanage(8) knows: the ports of the policy, those that an administrator has added included.

Decides nothing. It takes root and the package policycoreutils-python-utils; without an answer it says None, and the
caller says what that means. Called by cli/policy.py.
"""

import subprocess
from pathlib import Path

_SEMANAGE = "/usr/sbin/semanage"
_SECONDS = 60
_ADMINISTRATORS = "400"  # the priority of semodule -i


def list_ports() -> list[str] | None:
    """The lines of `semanage port -l -n`, None when they can't be had."""
    line = [_SEMANAGE, "port", "-l", "-n"]
    try:
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def other_module(name: str) -> str:
    """The module or package of this name that is no administrator's own, of any policy; empty without one."""
    stores = Path("/var/lib/selinux").glob(f"*/active/modules/*/{name}")
    packages = Path("/usr/share/selinux").glob(f"*/{name}.*")
    try:
        found = [path for path in (*stores, *packages) if path.parent.name != _ADMINISTRATORS]
    except OSError:  # not root: what semodule would see can't be seen
        return ""
    return str(found[0]) if found else ""
