"""What the requests of a site have in common: its mapping, its roots, its labels, its secrets.

Decides at start, or at a reload, whether selcgi can keep its promise here; whatever is wrong is a StartRefused or a
MappingError before the first request. A Site never changes: a reload builds another one, a request keeps its own.
Built by serve/supervisor.py and serve/once.py, asked by serve/request.py.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from selcgi.context import ContextSpec
from selcgi.errors import LaunchFailed, StartRefused
from selcgi.mapping.categories import REQUEST, USER, wants
from selcgi.mapping.rules import parse
from selcgi.mapping.table import Table
from selcgi.plan import Account
from selcgi.serve.accesslog import Entry
from selcgi.settings import Settings
from selcgi.system.accounts import account, own_account
from selcgi.system.identity import load_secret
from selcgi.system.mapfile import read_mapfile
from selcgi.system.roots import Roots, open_roots
from selcgi.system.selinux import Labels
from selcgi.wire.passing import check_passed_names


@dataclass(frozen=True, slots=True)
class Site:
    """`secrets`: of each listener with identity=proof, by its address. `account`: None runs scripts as selcgi's own."""

    settings: Settings
    labels: Labels
    table: Table
    roots: Roots
    secrets: Mapping[str, bytes]
    account: Account | None
    home: str
    report: Callable[[Entry], None]  # gets the line of each request at its end

    def close(self) -> None:
        self.roots.close()


def open_site(settings: Settings, labels: Labels, report: Callable[[Entry], None]) -> Site:
    """Read and check all that the settings name. StartRefused or MappingError; nothing stays open then."""
    check_passed_names(settings.environ.passed)
    _check_spool(settings.spool)
    secrets = {one.address: load_secret(one.proof_file) for one in settings.listeners if one.proof_file is not None}
    table = open_table(settings)
    _check_categories(table)
    other = _script_account(settings.script_user)
    home = other.home if other is not None else own_account().home
    return Site(
        settings=settings,
        labels=labels,
        table=table,
        roots=open_roots(settings.roots),
        secrets=secrets,
        account=other,
        home=home,
        report=report,
    )


def _check_categories(table: Table) -> None:
    for spec, where in table.templates():
        if wants(spec, USER) or wants(spec, REQUEST):
            raise StartRefused(f"{where}: nothing gives out {spec.range} yet", "write categories of your own, s0:c1")


def _check_spool(spool: Path) -> None:
    """Long bodies wait there, each in a file without a name."""
    try:
        os.close(os.open(spool, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        reason = f"no file can be made in the spool {spool}: {error.strerror}"
        raise StartRefused(
            reason, "set --spool to a folder of a local file system that selcgi's user may write"
        ) from None


def _script_account(name: str) -> Account | None:
    """Whom scripts run as, None for selcgi's own user, which must not be root."""
    if name:
        try:
            return account(name)
        except LaunchFailed as error:
            raise StartRefused(f"--script-user: {error.reason}", error.fix) from error
    if os.geteuid() == 0:
        raise StartRefused("scripts would run as root", "start selcgi as its own user, or give --script-user USER")
    return None


def open_table(settings: Settings) -> Table:
    """All --map files, as if they were one, in their order."""
    if not settings.maps:
        raise StartRefused("there is no mapping, so every request would be refused", "give --map FILE")
    rules = (rule for path in settings.maps for rule in parse(read_mapfile(path), str(path)))
    parts = telling_parts(settings.maps)
    return Table(rules if parts == 1 else (replace(rule, parts=parts) for rule in rules))


def telling_parts(paths: Iterable[Path]) -> int:
    """How many parts, from their ends, tell all these paths from one another."""
    distinct = set(paths)
    return next(n for n in count(1) if len({path.parts[-n:] for path in distinct}) == len(distinct))


def doubts(site: Site) -> list[str]:
    """Contexts of the mapping that the loaded policy would refuse now, as sentences that begin with file:line."""
    found = []
    for spec, where in site.table.specs():
        try:
            site.labels.resolve(spec)
        except LaunchFailed as error:
            found.append(f"{where}: {error}")
    return found


def context_text(site: Site, spec: ContextSpec) -> str:
    """The whole context of a rule as the log shows it, before the kernel has been asked."""
    own = site.labels.own
    return str(spec.without_kernel() if own is None else spec.resolve(own))
