"""The isolation proof: what each mapped context can do to every other, to selcgi, its servers and the policy.

Decides what is asked: all that rules and constraints let one context do to another and to the files that the other
writes, in one step; paths of domain transitions; and programs that one context may put where a stronger domain is
entered. The warm interpreter of a context is asked about as it is. What meant.py does not list is a finding. Pairs of
contexts whose ranges stand alike are asked about once.
Must not print, or open files. Called by cli/audit_map.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from selcgi.context import LAUNCHER, Context
from selcgi.diagnose.levels import Relation, low, relation
from selcgi.diagnose.mapped import Mapped
from selcgi.diagnose.meant import (
    ABOUT_ITSELF,
    APPLICATION,
    DOMAINS,
    NO_PROGRAMS,
    POLICY_TYPES,
    POWERS,
    SELCGI_PREFIX,
    UNCONFINED,
    WEB_SERVERS,
    ZYGOTES,
    Column,
    beyond,
)
from selcgi.errors import PolicyUnreadable
from selcgi.system.policyfile import Access, PolicyFile, Transition

SINGLE_MOST = 12  # contexts up to which each is a column of its own
_WRITING = ("append", "create", "relabelto", "write")
Progress = Callable[[int, int], None]  # contexts asked about, and all of them


@dataclass(frozen=True, slots=True)
class Finding:
    """What `source` may do to `target`. `kind`: "direct", "path", "program", "context", or "categories" for those
    of somebody else; `rules` say so."""

    kind: str
    column: Column
    source: Context
    target: Context
    what: str
    rules: tuple[str, ...] = ()

    @property
    def alike(self) -> tuple[str, ...]:
        """Equal for findings that differ in ranges only."""
        return self.kind, self.column, *map(str, map(_without_range, (self.source, self.target))), self.what


@dataclass(frozen=True, slots=True)
class Report:
    """`findings`: of those alike one, with their number. `cells`: context and column -> how many, 0 if all is meant.
    `zygotes`: the warm interpreters of the contexts, as far as the policy has them."""

    contexts: tuple[Mapped, ...]
    zygotes: tuple[Mapped, ...]
    findings: tuple[tuple[Finding, int], ...]
    cells: dict[tuple[Context, str], int]


def audit(policy: PolicyFile, contexts: tuple[Mapped, ...], progress: Progress) -> Report:
    """All of it. PolicyUnreadable when the policy has no selcgi in it, or gives no answer."""
    if policy.canonical(str(LAUNCHER)) is None:
        raise PolicyUnreadable(f"the policy has no {LAUNCHER}", "load contrib/selinux/selcgi.cil (semodule -i)")
    inquiry = _Inquiry(policy, contexts)
    sources = (*inquiry.usable, *inquiry.zygotes)
    for number, source in enumerate(sources):
        progress(number, len(sources))
        inquiry.ask(source)
    inquiry.follow()
    findings = tuple((one, inquiry.counts[one.alike]) for one in inquiry.findings.values())
    return Report(contexts, tuple(inquiry.zygotes.values()), findings, inquiry.cells)


@dataclass
class _Inquiry:
    """One run over one policy."""

    policy: PolicyFile
    contexts: tuple[Mapped, ...]
    usable: dict[Context, Mapped] = field(default_factory=dict)
    zygotes: dict[Context, Mapped] = field(default_factory=dict)
    findings: dict[tuple[str, ...], Finding] = field(default_factory=dict)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    cells: dict[tuple[Context, str], int] = field(default_factory=dict)
    _answers: dict[tuple[Column, Context, Context, Relation], tuple[Access, ...]] = field(default_factory=dict)
    _written: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.contexts:
            if one.clash:
                self._find(Finding("categories", Column.ITSELF, one.context, one.context, one.clash))
            if self.policy.canonical(str(one.context)) is None:
                self._find(Finding("context", Column.ITSELF, one.context, one.context, "is unknown to the policy"))
            else:
                self.usable[one.context] = one
                self._add_zygote(one)
        unconfined = [kind for name in UNCONFINED for kind in self.policy.types(name)]
        parts = (*self.policy.named(SELCGI_PREFIX), *self.policy.types(ZYGOTES))
        self._strong = {
            **dict.fromkeys((*DOMAINS, *self.policy.types(ZYGOTES)), Column.SELCGI),
            **dict.fromkeys((*WEB_SERVERS, *unconfined), Column.SERVERS),
        }
        self._single = len(self.usable) <= SINGLE_MOST
        self._around = {
            Column.SELCGI: self._labels(parts),
            Column.SERVERS: self._labels((*WEB_SERVERS, *unconfined)),
            Column.POLICY: self._labels(POLICY_TYPES),
        }

    def _add_zygote(self, one: Mapped) -> None:
        with suppress(ValueError):  # a domain whose name has no zygote
            zygote = one.context.zygote(LAUNCHER)
            if self.policy.canonical(str(zygote)) is not None:
                self.zygotes.setdefault(zygote, Mapped(zygote, one.where))

    def ask(self, source: Context) -> None:
        """What is possible in one step."""
        if self.policy.vector(str(source), str(source), "process").permissive:
            self._find(Finding("context", Column.ITSELF, source, source, "is permissive: nothing is refused"))
        self._reach(Column.ITSELF, source, source, Column.ITSELF)
        for other in self.usable:
            if other != source:
                if source in self.zygotes or self.usable[other].alone or not self._is_his(source, other):
                    self._reach(Column.OTHERS, source, other, self._cell(other))
                self._files(source, other)
        for column, targets in self._around.items():
            for target in targets:
                if target != source:
                    self._reach(column, source, target, column)

    def _files(self, source: Context, other: Context) -> None:
        """Those that `other` makes: they have its low level."""
        if source not in self.zygotes and self._is_his(source, other):
            return
        for kind in self._writes(other.domain):
            file = Context(other.user, "object_r", kind, low(other.range))
            self._reach(Column.OTHERS, source, file, self._cell(other))

    def _is_his(self, source: Context, other: Context) -> bool:
        """Whether both are of one user, by categories of his own, in one domain."""
        owner = self.usable[source].owner
        return bool(owner) and owner == self.usable[other].owner and source.domain == other.domain

    def follow(self) -> None:
        """What needs several steps: transitions, and programs for somebody else to run."""
        mapped = {context.domain for context in self.usable}
        domains = sorted(mapped | {context.domain for context in self.zygotes})
        targets = {**dict.fromkeys(sorted(mapped), Column.OTHERS), **self._strong}
        for path in self.policy.paths(domains, targets):
            if all(step.target not in targets for step in path[:-1]):  # else a shorter one is shown
                self._enters(path, targets[path[-1].target])
        for target, column in targets.items():
            entries = self.policy.reached(target, "file", ["entrypoint"])
            for domain in domains:
                if target != domain:
                    self._programs(domain, target, column, entries)

    def _enters(self, path: tuple[Transition, ...], column: Column) -> None:
        rules = tuple(rule for step in path for rule in step.rules)
        for source in self._of(path[0].source):
            target = Context(source.user, source.role, path[-1].target)
            if path[1:] == () and self._is_application(source, target):
                continue  # asked about in one step
            self._find(Finding("path", column, source, target, f"is entered: {_shown(path)}", rules))

    def _programs(self, domain: str, target: str, column: Column, entries: tuple[str, ...]) -> None:
        for kind in set(self._writes(domain)).intersection(entries).difference(NO_PROGRAMS):
            rules = self.policy.rules(target, kind, "file", ["entrypoint"])
            for source in self._of(domain):
                entered = Context(source.user, source.role, target)
                self._find(Finding("program", column, source, entered, f"is entered by {kind}, which it writes", rules))

    def _reach(self, column: Column, source: Context, target: Context, cell: str) -> None:
        answers = self._judged(column, source, target)
        if answers:
            self.cells.setdefault((source, cell), 0)
        for access in answers:
            if access.permissions:
                self._find(Finding("direct", column, source, target, *self._told(source, target, access)), cell)

    def _judged(self, column: Column, source: Context, target: Context) -> tuple[Access, ...]:
        """What is possible, each class with those of its permissions that nobody meant to allow."""
        key = (column, _without_range(source), _without_range(target), relation(source.range, target.range))
        if key not in self._answers:
            found = self.policy.between(str(source), str(target))
            kind = APPLICATION if self._is_application(source, target) else target.domain
            asked = (access for access in found if _asked(column, access))
            self._answers[key] = tuple(_judge(column, kind, access, source in self.zygotes) for access in asked)
        return self._answers[key]

    def _is_application(self, source: Context, target: Context) -> bool:
        """Whether `source` is the warm interpreter of `target`'s domain."""
        with suppress(ValueError):
            return source in self.zygotes and target.zygote(LAUNCHER).domain == source.domain
        return False

    def _told(self, source: Context, target: Context, access: Access) -> tuple[str, tuple[str, ...]]:
        rules = self.policy.rules(source.domain, target.domain, access.classname, access.permissions)
        return f"{access.classname} {{ {' '.join(access.permissions)} }}", rules

    def _find(self, finding: Finding, cell: str = "") -> None:
        self.findings.setdefault(finding.alike, finding)
        self.counts[finding.alike] += 1
        key = (finding.source, cell or finding.column)
        self.cells[key] = self.cells.get(key, 0) + 1

    def _cell(self, other: Context) -> str:
        return str(other) if self._single else Column.OTHERS

    def _writes(self, domain: str) -> tuple[str, ...]:
        """Types of files that the domain writes, but for its own files in /proc."""
        if domain not in self._written:
            kinds = self.policy.reached(domain, "file", _WRITING)
            self._written[domain] = tuple(kind for kind in kinds if kind != domain)
        return self._written[domain]

    def _labels(self, kinds: Iterable[str]) -> list[Context]:
        """As whoever has such a type would have it: a process where the type is a domain, or else a file."""
        roles = (("system_u", "system_r"), ("unconfined_u", "unconfined_r"), ("system_u", "object_r"))
        found = []
        for kind in kinds:
            contexts = (Context(user, role, kind, LAUNCHER.range) for user, role in roles)
            found += [one for one in contexts if self.policy.canonical(str(one)) is not None][:1]
        return found

    def _of(self, domain: str) -> Iterator[Context]:
        return (context for context in (*self.usable, *self.zygotes) if context.domain == domain)


def _asked(column: Column, access: Access) -> bool:
    """Of a context about itself what is a power over labels or the kernel; of others, what the kernel asks of two."""
    if column is Column.ITSELF:
        return not POWERS.get(access.classname, frozenset()).isdisjoint(access.permissions)
    return access.classname not in ABOUT_ITSELF


def _judge(column: Column, kind: str, access: Access, warm: bool) -> Access:
    asked = access.permissions
    if column is Column.ITSELF:
        asked = tuple(name for name in asked if name in POWERS[access.classname])
    return Access(access.classname, beyond(column, kind, access.classname, asked, warm=warm))


@lru_cache(maxsize=4096)
def _without_range(context: Context) -> Context:
    return Context(context.user, context.role, context.domain)


def _shown(path: tuple[Transition, ...]) -> str:
    steps = [f"{step.target} (by {step.entries[0]})" if step.entries else step.target for step in path]
    return " -> ".join((path[0].source, *steps))
