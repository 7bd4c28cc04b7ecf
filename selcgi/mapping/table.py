"""The rules as a table: first match wins, and no match means no.

Decides for one request which rule applies, in a time that does not grow with the number of named users: their rules
are found by index.py, only globs and the like are tried in turn. Must not wait, log or read anything.
Asked by chain.py, for every request (answer); by cli/mapping.py and diagnose/staging.py about itself (dead, shared).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from selcgi.context import ContextSpec
from selcgi.errors import Denied
from selcgi.mapping.index import Index
from selcgi.mapping.known import NOTHING, Known
from selcgi.mapping.rules import Kind, Rule, shared, unreachable
from selcgi.mapping.words import show
from selcgi.plan import Limits
from selcgi.values import valueclass

Obstacle = Literal["", "user", "script", "host"]


class Query(NamedTuple):
    """One request. `user` is None without one, `script` an absolute path, `host` a name without port in any case.

    `told`: names and values of the params that may choose a context, proven and not empty. `known`: what the system
    knows of the user, as far as the mapping asks.
    """

    user: str | None
    script: str
    host: str
    told: tuple[tuple[str, str], ...] = ()
    known: Known = NOTHING


@valueclass(frozen=True, slots=True)
class Verdict:
    """What the matching rule grants. `where` is its file:line; `account` is empty for the default one, `warm` is as
    in Options."""

    where: str
    spec: ContextSpec
    sendfile: bool
    account: str
    overrides: tuple[tuple[str, float], ...] = ()
    warm: str = ""

    def limits(self, defaults: Limits) -> Limits:
        """`defaults` with what the rule sets, be it more or less."""
        if not self.overrides:
            return defaults
        changes: dict[str, Any] = dict(self.overrides)
        return replace(defaults, **changes)


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at for a request, and in words why it matched or not."""

    rule: Rule
    matched: bool
    why: str

    @property
    def where(self) -> str:
        return self.rule.where


class Table:
    """Rules of one or several files in the order in which they are asked; never changes once built."""

    __slots__ = ("_files",)

    def __init__(self, files: Iterable[Index]) -> None:
        self._files = tuple(files)

    def __iter__(self) -> Iterator[Rule]:
        """Every rule, in order, each made anew."""
        return (rule for file in self._files for rule in file)

    def dead(self) -> tuple[Rule, ...]:
        """As unreachable() of all rules says; of a single file few of them are looked at."""
        return unreachable(self._files[0].contested() if len(self._files) == 1 else self)

    def shared(self) -> tuple[Rule, ...]:
        """As shared() of all rules says."""
        return shared(self, [rule for file in self._files for rule in file.not_for_one_name()])

    @property
    def count(self) -> int:
        """How many rules there are."""
        return sum(file.count for file in self._files)

    def find(self, query: Query) -> Rule | None:
        """The first rule that matches."""
        for file in self._files:
            for rule in file.considered(query.user):
                if not _obstacle(rule, query):
                    return rule
        return None

    def answer(self, query: Query) -> Verdict | None:
        """Of the first rule that matches; None when there is none. Denied when it says deny."""
        rule = self.find(query)
        return None if rule is None else verdict_of(rule)

    def trace(self, query: Query) -> tuple[Step, ...]:
        """Every rule that answer() looks at, the matching one last. Rules for the names of others are left out."""
        steps = []
        for rule in self._considered(query):
            obstacle = _obstacle(rule, query)
            steps.append(Step(rule, not obstacle, _why(obstacle, rule, query)))
            if not obstacle:
                break
        return tuple(steps)

    def templates(self) -> Iterator[tuple[ContextSpec, str]]:
        """Each distinct context that is asked for, as its first rule has it, with the file:line of that, in order."""
        return _distinct(rule for file in self._files for rule in file.with_contexts())

    def unfilled(self) -> Iterator[tuple[ContextSpec, str]]:
        """Those of templates() with c{user} or c{request}, found without a look at the others."""
        return _distinct(rule for file in self._files for rule in file.with_places())

    def warmed(self) -> Iterator[tuple[ContextSpec, str]]:
        """A context of each domain for which a rule asks for warm interpreters, with the file:line of the first one."""
        rules = (rule for file in self._files for rule in file.with_warmth())
        return ((rule.spec, rule.where) for rule in rules if rule.spec is not None)

    def accounts(self) -> Iterator[tuple[str, str]]:
        """Each that a uid= names, with the file:line of a rule that does."""
        return ((rule.options.account, rule.where) for file in self._files for rule in file.with_accounts())

    def groups(self) -> frozenset[str]:
        """Those that rules are for."""
        return frozenset(name for file in self._files for name in file.groups())

    def _considered(self, query: Query) -> Iterator[Rule]:
        """Every rule that may match, in the order of the files."""
        return (rule for file in self._files for rule in file.considered(query.user))


def _distinct(rules: Iterable[Rule]) -> Iterator[tuple[ContextSpec, str]]:
    """Each context with the place of its first rule."""
    seen: set[ContextSpec] = set()
    for rule in rules:
        if rule.spec is not None and rule.spec not in seen:
            seen.add(rule.spec)
            yield rule.spec, rule.where


def _obstacle(rule: Rule, query: Query) -> Obstacle:
    """What keeps the rule from matching, or "" when it matches."""
    group = rule.who.kind is Kind.GROUP
    if not group and not rule.who.matches(query.user):
        return "user"
    if rule.script is not None and not rule.script.matches(query.script):
        return "script"
    if rule.host is not None and not rule.host.matches(_canonical(query.host)):
        return "host"
    # Last: a group that nobody can say anything of is no reason to refuse what its rule is not for.
    return "user" if group and not rule.who.matches(query.user, query.known) else ""


def _canonical(host: str) -> str:
    """Host names have no case, and a last dot changes nothing (RFC 3986 section 3.2.2): `deny host=` must hold."""
    return host.lower().removesuffix(".")


def verdict_of(rule: Rule) -> Verdict:
    """What it grants. Denied when it says deny."""
    if rule.spec is None:
        raise Denied(f"rule {rule.where} says deny", rule=rule.where)
    options = rule.options
    return Verdict(rule.where, rule.spec, options.sendfile, options.account, options.limits, options.warm)


def _why(obstacle: Obstacle, rule: Rule, query: Query) -> str:
    if obstacle == "script" and rule.script is not None:
        return f"script {show(query.script)} is not matched by {show(rule.script.text)}"
    if obstacle == "host" and rule.host is not None:
        return f"host {show(query.host)} is not matched by {show(rule.host.text)}"
    if obstacle == "user":
        if query.user is None:
            return "the request has no user"
        if rule.who.kind is Kind.GROUP:
            return f"{show(query.user)} is not in the group {show(rule.who.text)}"
        return "the request has a user" if rule.who.kind is Kind.ANONYMOUS else f"{show(query.user)} is not {rule.who}"
    return "matches, and says deny" if rule.spec is None else f"matches: {rule.spec}"
