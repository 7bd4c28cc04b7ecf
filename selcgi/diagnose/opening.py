"""Which file a request for a path would run, and whether selcgi would: by the request's own way to it.

Decides nothing of its own: system/scripts.py finds and judges the script, beneath the same roots. It is opened, closed
again, and not run. Owners and modes are judged for the service's account, by root too, whom no mode stops.
Called by diagnose/explaining.py.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selcgi.errors import ScriptNotFound, ScriptRefused, SelcgiError, StartRefused
from selcgi.plan import Account
from selcgi.system.executable import closed_to
from selcgi.system.labelling import Labelling
from selcgi.system.roots import open_roots
from selcgi.system.scripts import open_script

_WANTED = ("execute", "read")
_NOBODYS = (1 << 32) - 2  # a uid whose owner's bits are nobody's
_AS_IT = "ask as the service's user: runuser -u selcgi -- selcgi explain .."


@dataclass(frozen=True, slots=True)
class Found:
    """`path`: of what would run, links resolved, or of what was refused. `why` and `fix` are empty where it may run."""

    path: str
    why: str = ""
    fix: str = ""


def find(path: str, roots: Iterable[Path], labelling: Labelling, account: Account) -> Found:
    """`path` is absolute, and may have a PATH_INFO behind it. Overloaded without a free descriptor."""

    def label_of(descriptor: int) -> str:
        return labelling.label(f"/proc/self/fd/{descriptor}")

    try:
        opened = open_roots(roots, account.uid)
    except StartRefused as error:
        return _refused(path, error, "selcgi does not start")
    try:
        located = open_script((os.fsencode(path),), opened, label_of)
    except (ScriptNotFound, ScriptRefused) as error:
        met = error.script if isinstance(error, ScriptRefused) else b""
        if _root_lacks(met, account):
            return Found(os.fsdecode(met), "not judged: SELinux gives root no right over others' files here", _AS_IT)
        return _refused(os.fsdecode(met) or path, error, str(error.status))
    finally:
        opened.close()
    located.script.close()
    script = os.fsdecode(located.script.path)
    if account.uid != os.geteuid() and (why := closed_to(account, located.script.path, _WANTED)):
        return Found(script, f"403: {why[0]}", why[1])
    return Found(script)


def _root_lacks(script: bytes, account: Account) -> bool:
    """Whether modes let the account pass and not root, who has no capability in selcgi_t."""
    if not script or os.geteuid() != 0 or account.uid == 0:
        return False
    root = Account("root", _NOBODYS, 0, (0,), "/")
    return closed_to(account, script, _WANTED) is None and closed_to(root, script, _WANTED) is not None


def _refused(path: str, error: SelcgiError, outcome: str) -> Found:
    return Found(path, f"{outcome}: {error.reason}", error.fix)
