"""The policy module of one application: its CIL, and what is to be done with it.

Decides how the template of contrib/selinux/webapp.cil is used: a block of the application's name, its switches, and
file contexts for its places. Pure: an Application in, text out; nothing of it is checked against a loaded policy, which
semodule does. Used by cli/policy.py.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from selcgi.policy.ports import Port
from selcgi.policy.words import pattern

# option -> what it opens; the macro is selcgi_webapp_OPTION
SWITCHES = {
    "network": "connect to every port, and use UDP, so ask DNS",
    "database": "reach PostgreSQL and MySQL by socket and port",
    "mail": "send mail by SMTP, or by a sendmail that speaks it",
    "homes": "read what users have at home",
    "programs": "be entered by programs of the distribution",
}
ROOT = "/srv/cgi"  # of selcgi, when it is told no other
# Folders whose label lets selcgi in already.
_SCRIPT_FOLDERS = (ROOT, "/var/www/cgi-bin", "/usr/lib/cgi-bin")
_WRITABLE = "/srv/data"  # ReadWritePaths= of the unit


@dataclass(frozen=True, slots=True)
class Place:
    """A path of the application. `folder`: with all that is in it, there or to come."""

    path: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Application:
    """What a module is written from. Names, types and paths are checked (policy/words.py)."""

    name: str
    scripts: tuple[Place, ...] = ()
    writes: tuple[Place, ...] = ()
    reads: tuple[Place, ...] = ()
    ports: tuple[Port, ...] = ()
    types: tuple[str, ...] = ()  # of ports
    switches: tuple[str, ...] = ()
    warm: bool = False  # with a domain for warm interpreters

    @property
    def domain(self) -> str:
        return f"{self.name}.webapp_t"


def module_text(app: Application) -> str:
    """The whole file, with its last line end."""
    return "\n".join([*_head(app), *_block(app), *_contexts(app)]) + "\n"


def _head(app: Application) -> Iterator[str]:
    yield f"; The policy of the web application {app.name}: the domain {app.domain}, by selcgi's template."
    yield "; It may do what is written here, and what the template gives to every one: contrib/selinux/README.md."
    yield ""


def _block(app: Application) -> Iterator[str]:
    own = [port for port in app.ports if not port.type]
    lines = [f"(blockinherit selcgi_{name})" for name in ("app", *(["warm"] if app.warm else []))]
    lines += [f"(call selcgi_webapp_{name} (webapp_t))" for name in app.switches]
    types = dict.fromkeys([*(port.type for port in app.ports if port.type), *app.types])
    lines += [f"(call selcgi_webapp_connects (webapp_t {one}))" for one in types]
    if own:
        lines += ["(type port_t)", "(roletype object_r port_t)", "(typeattributeset port_type port_t)"]
        lines += ["(call selcgi_webapp_connects (webapp_t port_t))"]
    yield f"(block {app.name}"
    yield "\n".join(f"    {line}" for line in lines) + ")"
    for port in own:
        yield f"(portcon tcp {port.number} (system_u object_r {app.name}.port_t ((s0) (s0))))"


def _contexts(app: Application) -> Iterator[str]:
    for folder in script_folders(app):
        yield _context(folder, "dir", f"{app.name}.script_t")
    for places, kind in ((app.scripts, "script_t"), (app.reads, "content_t"), (app.writes, "rw_t")):
        for place in places:
            tail, what = ("(/.*)?", "any") if place.folder else ("", "file")
            yield _context(place.path, what, f"{app.name}.{kind}", tail)


def _context(path: str, what: str, label: str, tail: str = "") -> str:
    return f'(filecon "{pattern(path)}{tail}" {what} (system_u object_r {label} ((s0) (s0))))'


def script_folders(app: Application) -> list[str]:
    """Folders of single scripts, which selcgi must be able to open: it begins at one of them (--root)."""
    folders = dict.fromkeys(posixpath.dirname(place.path) for place in app.scripts if not place.folder)
    inside = [place.path for place in app.scripts if place.folder]
    return [one for one in folders if not _beneath(one, (*_SCRIPT_FOLDERS, *inside))]


def _beneath(path: str, places: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in places)


def roots(app: Application) -> list[str]:
    """What selcgi's --root must name, beside /srv/cgi."""
    found: list[str] = []
    for folder in sorted(place.path if place.folder else posixpath.dirname(place.path) for place in app.scripts):
        if not _beneath(folder, (ROOT, *found)):
            found.append(folder)
    return found


def script_words(app: Application) -> list[str]:
    """script= of the mapping's rules, one for each place: a path is a glob there, and # begins a comment."""
    globs = [re.sub(r"[*?[]", r"[\g<0>]", one.path) + ("/*" if one.folder else "") for one in app.scripts]
    return [f'script="{one}"' if "#" in one else f"script={one}" for one in globs]


def read_only(app: Application) -> list[str]:
    """What it shall change, and the unit shows it read-only."""
    return [place.path for place in app.writes if not _beneath(place.path, (_WRITABLE,))]


def labelled(app: Application) -> list[str]:
    """The paths that the module has a context for."""
    return [*script_folders(app), *(place.path for place in (*app.scripts, *app.reads, *app.writes))]
