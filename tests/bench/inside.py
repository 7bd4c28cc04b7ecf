"""Inside the guest: how many requests a second selcgi answers, with every script in its context or with SELinux off.

Decides nothing about the comparison: it measures one of the two and writes rows to a file. The scripts, the client and
the worker are the same; only the kernel's answer differs. Runs as root. Called by secured.py, through the guest.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.asking import Client, question
from tests.bench.measure import processes_us
from tests.enforcing import site
from tests.enforcing.delegation import CGROUP, delegate, take_back
from tests.stack import Selcgi

CONNECTIONS = 2
SH = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
PYTHON = "#!/usr/bin/python3\nprint('Content-Type: text/plain\\n\\nhello')\n"
WARM = "warm.py"


def scripts(program: Path) -> list[Path]:
    """A static program that was compiled elsewhere, a shell's, and one that runs warm."""
    static = site.CGI / "c.cgi"
    static.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program, static)
    static.chmod(0o755)
    return [static, site.script("sh.cgi", SH), site.script(WARM, PYTHON)]


@contextmanager
def serving(mode: str) -> Iterator[Selcgi]:
    """One worker, its cgroup delegated to it; `mode` as of --selinux."""
    rules = "__anonymous__ user_webapp_t:s0:c1"
    site.write(site.MAP, f"{rules} script=*/{WARM} warm=yes\n{rules}\n")
    delegate()
    options = (f"--map={site.MAP}", f"--selinux={mode}", "--workers=1", f"--cgroup={CGROUP}")
    with site.serving(*options, identity="none") as running:
        take_back()
        yield running


def rows(running: Selcgi, found: list[Path], requests: int, rounds: int) -> Iterator[dict[str, Any]]:
    (pid,) = running.workers()[:1]
    for number in range(rounds + 1):  # the first warms up
        for path in found:
            client = Client(str(running.socket), question(path), CONNECTIONS)
            before, began = processes_us([pid])[pid], time.perf_counter()
            client.ask(requests)
            seconds = time.perf_counter() - began
            own = processes_us([pid])[pid] - before
            client.close()
            if number:
                yield {"script": path.name, "rate": requests / seconds, "own_us": own / requests}


def main(mode: str, folder: Path, requests: int, rounds: int) -> None:
    site.prepare()
    if mode == "required":
        subprocess.run(["setsebool", "selcgi_webapp_warm", "on"], check=True)
    found = scripts(folder / "program")
    if mode == "required":
        site.run("restorecon", "-RF", site.CGI)
    with serving(mode) as running:
        measured = list(rows(running, found, requests, rounds))
    (folder / "rows").write_text(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
