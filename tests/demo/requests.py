"""One request of the demo, through the web server, and everything that became of it. Runs in the guest."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.enforcing import site
from tests.enforcing.kernellog import KernelLog
from tests.enforcing.web import WebServer
from tests.guest.audit import Avc
from tests.stack import Selcgi, wait_until

ASKING = ("alice", "bob", "carol", "")
# whose file and whose process each tries to get at
OTHER = {"alice": "bob", "bob": "alice", "carol": "alice", "": "alice"}
PORT = 25  # smtp_port_t: somebody listens there, and no webapp may connect
PROBES = ("probe.sh", "probe.pl", "probe.py", "probe.c", "warm.py")
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
    """`seen`: cell -> yes or no, as the script reported; `cited`: cell -> the kernel's denial behind a no; `strange`:
    denials that no cell explains."""

    user: str
    probe: str
    rule: str
    context: str
    status: int
    seen: dict[str, str]
    cited: dict[str, Avc]
    started: bool
    strange: tuple[Avc, ...] = ()


def ask_through(web: WebServer, selcgi: Selcgi, log: KernelLog, user: str, probe: str, victim: int) -> Row:
    """Ask, and wait for the request's line in selcgi's log and its denials in the kernel's. `victim` is a process of
    the other user."""
    before = len(selcgi.entries())
    own, other = _own(user)[0], _own(OTHER[user])[0]
    query = f"own={own}&other={other}&public={site.PUBLIC}&port={PORT}&victim={victim}"
    done = subprocess.run(web.curl(f"{probe}?{query}", user), capture_output=True, text=True, check=False)
    body, _, status = done.stdout.rpartition("\n")
    wait_until("the request's line", lambda: len(selcgi.entries()) > before)
    entry = selcgi.entry(before)
    seen = dict(line.split("=", 1) for line in body.splitlines() if "=" in line and status == "200")
    denials = log.denials()
    cited = {cell: avc for cell in CELLS if seen.get(cell) == "no" and (avc := cause(cell, user, denials))}
    return Row(
        user=user,
        probe=probe,
        rule=entry["rule"],
        context=seen.pop("context", "-"),
        status=int(status),
        seen=seen,
        cited=cited,
        started=bool(entry["exit"]),
        strange=tuple(avc for avc in denials if not avc.permissive and not any(cause(c, user, (avc,)) for c in cited)),
    )


def cause(cell: str, user: str, denials: tuple[Avc, ...]) -> Avc | None:
    """The denial of this user's context that forbids this access to this very thing."""
    tclass, permissions = CAUSES[cell]
    target, name = _target(cell, user)
    for avc in denials:
        if (avc.source, avc.target, avc.tclass, avc.what.rpartition("/")[2]) == (
            site.context_of(user),
            target,
            tclass,
            name,
        ) and permissions & set(avc.permissions):
            return avc
    return None


def _target(cell: str, user: str) -> tuple[str, str]:
    """Context and name, or port, of what a cell is about, as the kernel's record must give them."""
    if cell == "signal":
        return site.context_of(OTHER[user]), ""
    if cell == "connect":
        return "system_u:object_r:smtp_port_t:s0", str(PORT)
    places = {"other": _own(OTHER[user]), "public": (site.PUBLIC, "selcgi_public_content_t:s0")}
    path, label = places.get(cell, _own(user))
    return f"system_u:object_r:{label}", path.name


def _own(user: str) -> tuple[Path, str]:
    """Who has no file tries alice's."""
    return site.OWN.get(user, site.OWN["alice"])
