"""A source of the mapping that is a param of the web server: its authentication fills it from a directory.

Decides what such a value may say: what the context of a rule may, less user and role, and of the domains only those
that the administrator of this machine has named, since whoever may write the directory chooses the rest. A value that
is wrong is refused, never passed over: the next source could give more. Whether it comes from the web server is
system/identity.py's to say. Must not read anything. Made by serve/sources.py, asked by
mapping/chain.py.
"""

from collections.abc import Iterable

from selcgi.context import ContextSpec
from selcgi.errors import Denied
from selcgi.mapping.chain import Seen
from selcgi.mapping.rules import read_context
from selcgi.mapping.table import Query, Verdict
from selcgi.mapping.words import Mistake, show

PARAM = "param:"  # what the place of such an answer begins with
_CHARACTERS = 1024  # of a value; categories take the most of a long one
_FIX = "correct it where the web server gets it from: domain, domain:range or deny, and nothing around it"


class ParamSource:
    """`domains`: what it may choose from."""

    __slots__ = ("_domains", "_name")

    def __init__(self, name: str, domains: Iterable[str]) -> None:
        self._name = name
        self._domains = tuple(dict.fromkeys(domains))

    @property
    def where(self) -> str:
        return f"{PARAM}{self._name}"

    def answer(self, query: Query) -> Verdict | None:
        """None when it did not come, or came empty. Denied when it says deny, or what it may not say."""
        value = dict(query.told).get(self._name)
        if not value:
            return None
        spec = self._read(value)
        if spec is None:
            raise Denied(f"{self._name} says deny", rule=self.where)
        return Verdict(self.where, spec, sendfile=False, account="")

    def trace(self, query: Query) -> tuple[Seen, ...]:
        try:
            verdict = self.answer(query)
        except Denied as error:
            return (Seen(self.where, True, error.reason),)
        if verdict is None:
            return (Seen(self.where, False, f"the web server sent no {self._name}"),)
        return (Seen(self.where, True, f"matches: {verdict.spec}"),)

    def templates(self) -> tuple[tuple[ContextSpec, str], ...]:
        return tuple((ContextSpec(domain), self.where) for domain in self._domains)

    def warmed(self) -> tuple[tuple[ContextSpec, str], ...]:
        return ()  # a param has no options

    def _read(self, value: str) -> ContextSpec | None:
        try:
            if len(value) > _CHARACTERS or not value.isascii() or "{" in value:
                raise Mistake(f"{show(value)} is no context", "")
            spec = read_context(value)
        except Mistake as mistake:
            raise Denied(f"{self._name}: {mistake.reason}", _FIX, self.where) from None
        if spec is not None and spec.user is not None:
            reason = f"{self._name}: {show(value)} has a user and a role, which only a mapping file may choose"
            raise Denied(reason, _FIX, self.where)
        if spec is not None and spec.domain not in self._domains:
            reason = f"{self._name}: the domain {show(spec.domain)} is none that a param may choose"
            raise Denied(reason, f"add --param-domain {spec.domain} if it shall be one", self.where)
        return spec
