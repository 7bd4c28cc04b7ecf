"""What figures were measured on: without it they mean nothing.

Decides what is said of a machine: processor, cores, memory, kernel, distribution, C library, and the version of every
program that took part, as each says it of itself. Called by tests/bench.
"""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.place import PYTHON
from tests.stack import TREE

VERSIONS: Mapping[str, Sequence[str]] = {
    "nginx": ("/usr/sbin/nginx", "-v"),
    "fcgiwrap": ("dpkg-query", "-W", "-f", "${Version}", "fcgiwrap"),
    "lighttpd": ("/usr/sbin/lighttpd", "-v"),
    "Apache": ("/usr/sbin/apache2", "-v"),
    "uWSGI": ("uwsgi-core", "--version"),
    "wrk": ("wrk", "-v"),
    "perl": ("perl", "-e", "print $^V"),
    "Python": (str(PYTHON), "--version"),
}
_NUMBER = re.compile(r"\d+(\.\d+)+\S*")


def describe(python: Path | None = None) -> dict[str, object]:
    """`python`: an environment whose packages count as programs, too."""
    return {
        "processor": _after("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_kib": int(_after("/proc/meminfo", "MemTotal").split()[0]),
        "kernel": platform.release(),
        "distribution": _after("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        "libc": " ".join(platform.libc_ver()),
        "versions": {name: version(words) for name, words in VERSIONS.items()} | (_packages(python) if python else {}),
    }


def commit() -> str:
    """Of the tree that is measured, with a + when it was edited since; empty without git."""
    words = ("git", "-C", str(TREE), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _after(path: str, name: str, separator: str = ":") -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(separator)[2].strip() for line in lines if line.startswith(name)), "0")


def version(words: Sequence[str]) -> str:
    """What looks like a version in its output; empty without the program."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError:
        return ""
    found = _NUMBER.search(done.stdout + done.stderr)
    return found.group() if found else ""


def _packages(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print(*(f'{n}={m.version(n)}' for n in ('flask', 'uvloop')))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(pair.split("=", 1) for pair in done.stdout.split())


def sentence(machine: Mapping[str, object]) -> str:
    """One line for people."""
    versions = machine["versions"]
    assert isinstance(versions, dict)
    programs = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    where = f"{machine['cores']} cores of {machine['processor']}, Linux {machine['kernel']}, {machine['distribution']}"
    return f"{where}, {machine['libc']}; {programs}"
