"""What the context costs: the same requests in a guest whose kernel enforces SELinux, and in one that has none.

Decides fairness: the same kernel, disk, scripts and client, booted by turns. The guest is a kernel as an ordinary
process, where a system call costs many times what it costs elsewhere: its absolute figures mean nothing, and the ratio
says more of the context than a real machine's would. Called by tests/bench.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.place import BenchFailed
from tests.bench.rates import Say
from tests.bench.scripts import HELLO_C
from tests.guest import machine
from tests.guest.fetch import HOST_PROGRAMS
from tests.guest.host import install_host_programs

MODES = ("required", "off")
_SUITE = "trixie"
_SECONDS = 200.0  # of one boot, at most


def secured(boots: int, requests: int, rounds: int, say: Say) -> list[dict[str, Any]]:
    """Rows of mode, boot, script, rate and the worker's own microseconds of CPU time."""
    install_host_programs(HOST_PROGRAMS)
    program = static_program()
    found = []
    for boot in range(boots):
        for mode in MODES:
            say(f"in the guest, boot {boot + 1}, SELinux {mode}")
            found += [{"mode": mode, "boot": boot, **row} for row in _boot(mode, program, requests, rounds)]
    return found


def static_program() -> bytes:
    """Compiled here: the guest's compiler need not have a static C library."""
    folder = Path(tempfile.mkdtemp(prefix="selcgi-bench-", dir="/var/tmp"))
    try:
        (folder / "c.c").write_text(HELLO_C)
        subprocess.run(["gcc", "-O2", "-static", "-o", folder / "c", folder / "c.c"], check=True)
        return (folder / "c").read_bytes()
    finally:
        shutil.rmtree(folder)


def _boot(mode: str, program: bytes, requests: int, rounds: int) -> list[dict[str, Any]]:
    command = f"cd /mnt/src && {machine.PYTHON} -m tests.bench.inside {mode} /mnt/out {requests} {rounds}"
    job = machine.Job(command, _SUITE, _SECONDS, files={"program": program}, selinux=mode == "required")
    outcome = machine.run(job)
    if outcome.code:
        raise BenchFailed(f"in the guest, SELinux {mode}: exit {outcome.code}:\n{outcome.output[-2000:]}")
    rows: list[dict[str, Any]] = json.loads(outcome.files["rows"])
    return rows
