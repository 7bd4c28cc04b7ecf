"""Faults to plant for `selcgi doctor`, and what it says of them. Runs in the guest.

Decides how a fault is planted alone: a domain of its own for each that is about one domain, all of them in one module,
since loading one takes seconds; a mapping names one of them at a time. (deny ..) needs a libsepol of 3.6 or newer.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.enforcing import site

PYTHON = site.PROGRAM.parent / "python"
BY_PROGRAM = (str(site.PROGRAM),)  # in selcgi_t
BY_PYTHON = (str(PYTHON), "-m", "selcgi")  # in the domain of who starts it
ROOT = Path("/srv/faults")
RULES = Path("/etc/selcgi/faults.map")
SCRIPT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"
DOMAIN = "(type {0})(call selcgi_webapp_domain ({0}))"


@dataclass(frozen=True)
class Said:
    """What doctor found, and how it ended. Notes are left out of `faults`."""

    code: int
    faults: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    looked_at: dict[str, int]

    @property
    def checks(self) -> list[str]:
        return [fault["check"] for fault in self.faults]


def doctor(*options: str, program: tuple[str, ...] = BY_PROGRAM, before: str = "") -> Said:
    """Ask it; `before` are shell words that change the system for it alone, in a mount namespace of its own."""
    words = [*program, "doctor", "--json", *options]
    line = words if not before else ["unshare", "--mount", "bash", "-c", f'{before}exec "$@"', "bash", *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environ(), cwd="/")
    assert done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    faults = [one for one in found["faults"] if one["severity"] != "note"]
    notes = [one for one in found["faults"] if one["severity"] == "note"]
    assert done.returncode == (1 if faults else 0)
    return Said(done.returncode, faults, notes, found["looked_at"])


def environ() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE}


def examine(rules: str, root: Path = ROOT, **how: Any) -> Said:
    """Of a mapping of these lines, and the scripts beneath a root of the faults."""
    site.write(RULES, rules)
    return doctor(f"--map={RULES}", f"--root={root}", **how)


def script(name: str, text: str = SCRIPT, label: str = "selcgi_script_exec_t:s0") -> Path:
    return site.write(ROOT / name, text, 0o755, label)


def load(name: str, text: str, **others: str) -> None:
    """A module, and others with it, which costs no more; those of these names are replaced. None is removed at the end
    of a file of tests: that costs as much as a load, and its guest ends there."""
    places = []
    for each, its in {name: text, **others}.items():
        places.append(Path(f"/run/{each}.cil"))
        places[-1].write_text(its)
    site.run("semodule", "-i", *places)


def place_of(pattern: str, label: str) -> str:
    """A line of CIL that says which label a place has: what lies there is no drift then."""
    return f'(filecon "{pattern}" any (system_u object_r {label} ((s0) (s0))))'
