"""What the requests of a site have in common: its mapping, its roots, its labels, its secrets.

Decides at start, or at a reload, whether selcgi can keep its promise here; whatever is wrong is a StartRefused or a
MappingError before the first request. A Site never changes: a reload builds another one, a request keeps its own.
Built by serve/supervisor.py and serve/once.py, asked by serve/request.py.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from selcgi.context import Context, ContextSpec
from selcgi.errors import LaunchFailed, StartRefused
from selcgi.mapping.chain import Chain
from selcgi.plan import Account
from selcgi.serve.accesslog import Entry
from selcgi.serve.categories import Categories, open_categories
from selcgi.serve.sources import open_sources
from selcgi.settings import Settings
from selcgi.system.accounts import account, own_account
from selcgi.system.familiar import Familiar
from selcgi.system.identity import load_secret
from selcgi.system.roots import Roots, open_roots
from selcgi.system.selinux import Labels
from selcgi.wire.passing import check_passed_names


@dataclass(frozen=True, slots=True)
class Site:
    """`secrets`: of each listener with identity=proof, by its address. `account`: None runs scripts as selcgi's own."""

    settings: Settings
    labels: Labels
    table: Chain
    categories: Categories
    roots: Roots
    scripts: Familiar  # beneath the roots
    secrets: Mapping[str, bytes]
    account: Account | None
    home: str
    report: Callable[[Entry], None]  # gets the line of each request at its end

    def close(self) -> None:
        self.scripts.close()
        self.roots.close()


def open_site(settings: Settings, labels: Labels, report: Callable[[Entry], None]) -> Site:
    """Read and check all that the settings name. StartRefused or MappingError; nothing stays open then."""
    check_passed_names(settings.environ.passed)
    _check_spool(settings.spool)
    secrets = {one.address: load_secret(one.proof_file) for one in settings.listeners if one.proof_file is not None}
    table = open_sources(settings)
    other = _script_account(settings.script_user)
    home = other.home if other is not None else own_account().home
    categories, roots = open_categories(settings, table, labels.own), open_roots(settings.roots)
    return Site(
        settings=settings,
        labels=labels,
        table=table,
        categories=categories,
        roots=roots,
        scripts=Familiar(roots, labels.file_label),
        secrets=secrets,
        account=other,
        home=home,
        report=report,
    )


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


def context_text(site: Site, spec: ContextSpec) -> str:
    """The whole context of a rule as the log shows it, before the kernel has been asked."""
    return _text_of(spec, site.labels.own)


@lru_cache(maxsize=1024)
def _text_of(spec: ContextSpec, own: Context | None) -> str:
    return str(spec.whole(own))
