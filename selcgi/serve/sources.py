"""The mapping of a site: every --map, opened, in the order given.

Decides at start, or at a reload, whether the sources make sense together; a StartRefused or a MappingError otherwise.
Files that follow one another are one table, as if they were one file. Called by serve/site.py and the commands of cli/.
"""

from collections.abc import Iterable, Iterator
from itertools import count, groupby
from pathlib import Path

from selcgi.context import is_name
from selcgi.errors import StartRefused
from selcgi.mapping.chain import Chain, Source
from selcgi.mapping.groups import GroupFile
from selcgi.mapping.index import Index
from selcgi.mapping.known import Asked
from selcgi.mapping.logins import LoginSource
from selcgi.mapping.table import Table
from selcgi.mapping.told import ParamSource
from selcgi.settings import MapLogin, MapParam, Settings
from selcgi.system.mapfile import read_mapfile, read_mapfile_bytes
from selcgi.wire.passing import check_told_names

_GROUPS = 64  # of the system: a request of a new user asks for each


def open_sources(settings: Settings) -> Chain:
    """Read all of them. StartRefused for a mapping without a source, or sources that can't be asked."""
    if not settings.maps:
        raise StartRefused("there is no mapping, so every request would be refused", "give --map FILE")
    _check_params(settings)
    _check_login(settings)
    sources = tuple(_sources(settings))
    named = frozenset(name for one in sources if isinstance(one, Table) for name in one.groups())
    return Chain(sources, asked_of(settings, named))


def _sources(settings: Settings) -> Iterator[Source]:
    files = [one for one in settings.maps if isinstance(one, Path)]
    parts = telling_parts(files)
    for kind, sources in groupby(settings.maps, type):
        if issubclass(kind, Path):
            yield table_of([one for one in sources if isinstance(one, Path)], parts)
            continue
        for one in sources:
            if isinstance(one, MapParam):
                yield ParamSource(one.name, settings.param_domains)
            elif isinstance(one, MapLogin):
                yield LoginSource(read_mapfile(one.table), str(one.table))


def asked_of(settings: Settings, named: frozenset[str]) -> Asked:
    """Of the groups that a mapping names: which are in files, and which the system must be asked for. StartRefused when
    those are too many."""
    members: dict[str, frozenset[str]] = {}
    for path in settings.group_files:
        for name, users in GroupFile(read_mapfile(path), str(path), named).members.items():
            members[name] = members.get(name, frozenset()) | users
    asked = tuple(sorted(named - members.keys()))
    if len(asked) > _GROUPS:
        reason = f"the mapping names more than {_GROUPS} groups that are in no --group-file"
        raise StartRefused(reason, "put some of them in one: each request of a new user asks the system for all")
    login = any(isinstance(one, MapLogin) for one in settings.maps)
    return Asked(asked, login, members)


def _check_login(settings: Settings) -> None:
    if settings.selinux == "off" and any(isinstance(one, MapLogin) for one in settings.maps):
        reason = "--map login:TABLE asks SELinux's own login mapping, and --selinux is off"
        raise StartRefused(reason, "leave it out, or leave out --selinux off")


def table_of(paths: Iterable[Path], parts: int = 1) -> Table:
    """The table of mapping files, as if they were one. `parts` is Rule.parts. StartRefused, MappingError."""
    return Table(Index(read_mapfile_bytes(path), str(path), parts) for path in paths)


def telling_parts(paths: Iterable[Path]) -> int:
    """How many parts, from their ends, tell all these paths from one another."""
    distinct = set(paths)
    return next(n for n in count(1) if len({path.parts[-n:] for path in distinct}) == len(distinct))


def _check_params(settings: Settings) -> None:
    """What is said of a param in one place and not in the other would never be asked, or never come."""
    asked = [one.name for one in settings.maps if isinstance(one, MapParam)]
    check_told_names(asked)
    for name in asked:
        if name in settings.environ.passed:
            reason = f"{name} chooses the context, and --pass-param would show it to scripts"
            raise StartRefused(reason, f"take {name} out of --pass-param")
        if settings.listeners and not any(name in one.map_params for one in settings.listeners):
            reason = f"no listener lets the web server say {name}, so --map param:{name} would never answer"
            raise StartRefused(reason, f"write --listen ADDRESS,identity=proof:FILE,map-param={name}")
    for listener in settings.listeners:
        for name in listener.map_params:
            if name not in asked:
                reason = f"{listener.address} has map-param={name}, which no --map asks"
                raise StartRefused(reason, f"add --map param:{name}, or leave map-param={name} out")
    _check_domains(settings, bool(asked))


def _check_domains(settings: Settings, wanted: bool) -> None:
    if wanted and not settings.param_domains:
        reason = "--map param:NAME would let the web server's directory choose any domain"
        raise StartRefused(reason, "name those it may choose: --param-domain TYPE, for each")
    if settings.param_domains and not wanted:
        raise StartRefused("--param-domain means nothing without --map param:NAME", "leave it out")
    for domain in settings.param_domains:
        if not is_name(domain):
            raise StartRefused(f"--param-domain {domain!a} is no SELinux type", "write user_webapp_t or the like")
