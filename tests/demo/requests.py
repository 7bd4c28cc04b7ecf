"""One request of the demo, through the web server, and everything that became of it. Runs in the guest."""

import subprocess
from dataclasses import dataclass

from tests.enforcing import site
from tests.enforcing.kernellog import KernelLog
from tests.enforcing.web import WebServer
from tests.guest.audit import Avc
from tests.stack import Selcgi, wait_until

PROBES = ("probe.sh", "probe.pl", "probe.py", "probe.c")
CELLS = ("own", "other", "public", "write", "connect", "signal")
# class and permission of the denial that each refused cell must cite
CAUSES = {
    "own": ("file", {"read", "open"}),
    "other": ("file", {"read", "open"}),
    "public": ("file", {"read", "open"}),
    "write": ("file", {"write", "append", "open"}),
    "connect": ("tcp_socket", {"name_connect"}),
    "signal": ("process", {"signal"}),
}


@dataclass(frozen=True)
class Row:
    """`seen`: cell -> yes or no, as the script reported; `cited`: cell -> the kernel's denial behind a no."""

    user: str
    probe: str
    rule: str
    context: str
    status: int
    seen: dict[str, str]
    cited: dict[str, Avc]
    started: bool


def ask_through(web: WebServer, selcgi: Selcgi, log: KernelLog, user: str, path: str) -> Row:
    """Ask, and wait for the request's line in selcgi's log and its denials in the kernel's."""
    before = len(selcgi.entries())
    done = subprocess.run(web.curl(path, user), capture_output=True, text=True, check=False)
    body, _, status = done.stdout.rpartition("\n")
    wait_until("the request's line", lambda: len(selcgi.entries()) > before)
    entry = selcgi.entry(before)
    seen = dict(line.split("=", 1) for line in body.splitlines() if "=" in line and status == "200")
    denials = log.denials()
    probe = path.partition("?")[0]
    return Row(
        user=user,
        probe=probe,
        rule=entry["rule"],
        context=seen.pop("context", "-"),
        status=int(status),
        seen=seen,
        cited={cell: avc for cell in CELLS if seen.get(cell) == "no" and (avc := _cause(cell, user, denials))},
        started=bool(entry["exit"]),
    )


def _cause(cell: str, user: str, denials: tuple[Avc, ...]) -> Avc | None:
    """The denial of this user's context that forbids this access."""
    tclass, permissions = CAUSES[cell]
    source = site.context_of(user)
    for avc in denials:
        if avc.source == source and avc.tclass == tclass and permissions & set(avc.permissions):
            return avc
    return None
