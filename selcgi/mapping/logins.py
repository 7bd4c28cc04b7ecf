"""A source of the mapping that is SELinux's own login mapping (semanage login), and a table of its SELinux users.

Decides which context goes with an SELinux user, by a file with lines like those of a mapping file: SEUSER CONTEXT
[OPTION..]. The login mapping's default is no answer: it is made for shells, and on many systems it is unconfined. Must
not ask the system: what it knows is in the Query. Made by serve/sources.py, asked by mapping/chain.py.
"""

from collections.abc import Iterable
from dataclasses import replace

from selcgi.context import ContextSpec, is_name, is_range
from selcgi.errors import Denied, MappingError
from selcgi.mapping.chain import Seen
from selcgi.mapping.rules import Kind, Rule, read_context, read_rule
from selcgi.mapping.table import Query, Verdict, verdict_of
from selcgi.mapping.words import Mistake, show

LOGIN_RANGE = "login-range"  # in place of a range: the one of the login mapping


class LoginSource:
    """One --map login:TABLE."""

    __slots__ = ("_rules",)

    def __init__(self, text: str, file: str) -> None:
        """MappingError for the first mistake."""
        self._rules: dict[str, Rule] = {}
        for number, line in enumerate(text.split("\n"), 1):
            try:
                rule = read_rule(line.removesuffix("\r"), file, number, context=_context)
                if rule is not None:
                    self._add(rule)
            except Mistake as mistake:
                raise MappingError(file, number, mistake.reason, mistake.fix) from None

    def answer(self, query: Query) -> Verdict | None:
        """None for a user without a login mapping of his own, or whose SELinux user has no line."""
        if query.user is None:
            return None
        known = query.known
        known.check()
        rule = self._rules.get(known.seuser)
        if rule is None:
            return None
        where = f"login:{rule.where}"
        if rule.spec is None:
            raise Denied(f"rule {where} says deny", rule=where)
        verdict = replace(verdict_of(rule), where=where)
        if rule.spec.range != LOGIN_RANGE:
            return verdict
        if not is_range(known.level) or "-" in known.level:
            reason = f"the login mapping gives {show(query.user)} {show(known.level)}, which is no single level"
            raise Denied(reason, "semanage login -m -r s0:c1 ..., or write a range in the table", where)
        return replace(verdict, spec=replace(verdict.spec, range=known.level))

    def trace(self, query: Query) -> tuple[Seen, ...]:
        seuser = query.known.seuser
        try:
            verdict = self.answer(query)
        except Denied as error:
            return (Seen(error.rule, True, error.reason),)
        if verdict is not None:
            return (Seen(verdict.where, True, f"{seuser} matches: {verdict.spec}"),)
        why = f"the table has no line for {seuser}" if seuser else "the login mapping has its default only"
        return (Seen("login", False, why),)

    def templates(self) -> tuple[tuple[ContextSpec, str], ...]:
        """With selcgi's own range where the login mapping has one: which it has is not known before a request."""
        return _granted(self._rules.values())

    def warmed(self) -> tuple[tuple[ContextSpec, str], ...]:
        return _granted(rule for rule in self._rules.values() if rule.warm)

    def _add(self, rule: Rule) -> None:
        name = rule.who.text
        if rule.who.kind is not Kind.NAME or not is_name(name) or name.startswith("__"):
            raise Mistake(f"{show(name)} is no SELinux user", "write its name: semanage user -l lists them")
        if not rule.unconditional:
            raise Mistake("script= and host= have no place here", "narrow the match in a mapping file before this")
        if name in self._rules:
            raise Mistake(f"{name} stands there twice", "keep one of the two")
        self._rules[name] = rule


def _granted(rules: Iterable[Rule]) -> tuple[tuple[ContextSpec, str], ...]:
    found = ((rule.spec, f"login:{rule.where}") for rule in rules if rule.spec is not None)
    return tuple((replace(spec, range=None) if spec.range == LOGIN_RANGE else spec, at) for spec, at in found)


def _context(word: str) -> ContextSpec | None:
    """As in a mapping file, with LOGIN_RANGE for a range."""
    if not word.endswith(f":{LOGIN_RANGE}"):
        return read_context(word)
    spec = read_context(word.removesuffix(f":{LOGIN_RANGE}"))
    if spec is None or spec.range is not None:
        raise Mistake(f"{show(word)} is no context", f"write domain:{LOGIN_RANGE}")
    return replace(spec, range=LOGIN_RANGE)
