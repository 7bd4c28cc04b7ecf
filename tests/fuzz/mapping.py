"""Invariant: any text gives rules or a MappingError with file:line, and a table decides as a reader of the file would.

A file without its mistaken lines is a file without mistakes; each line means the same by itself; who and context read
again are the same. The first rule that matches decides, its globs being those of fnmatch; `map explain` names the
same rule; a rule called unreachable decides nothing. Input: a line `user|script|host`, "-" for no user, and the file.
"""

import os
from dataclasses import replace
from fnmatch import fnmatchcase

from selcgi.errors import Denied, MappingError
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.known import NOTHING, Known
from selcgi.mapping.rules import MISTAKES, Kind, Rule, mistakes, parse, unreachable
from selcgi.mapping.table import Query, Table
from selcgi.plan import Limits

FILE = "/etc/selcgi/site.map"
_USERS = 8


def check(data: bytes) -> None:
    asked, _, body = data.partition(b"\n")
    text = body.decode("utf-8", "replace")
    found = mistakes(text, FILE)
    _check_mistakes(found, text)
    rules = _parse(text, found)
    for rule in rules:
        _check_rule(rule, text)
    table, dead = Table([_index(text, found)] if rules else []), unreachable(rules)
    assert tuple(table) == rules
    for query in _queries(asked, rules):
        _check_decision(table, rules, dead, query)


def _check_mistakes(found: tuple[MappingError, ...], text: str) -> None:
    for mistake in found:
        assert str(mistake).startswith(f"{FILE}:{mistake.line}: ")
        assert str(mistake).isprintable(), str(mistake)
        assert mistake.fix
        assert 1 <= mistake.line <= text.count("\n") + 1
    assert len({mistake.line for mistake in found}) == len(found)


def _parse(text: str, found: tuple[MappingError, ...]) -> tuple[Rule, ...]:
    """The rules of the lines without mistakes; a file that has one is refused for its first."""
    if not found:
        return parse(text, FILE)
    try:
        parse(text, FILE)
    except MappingError as error:
        assert str(error) == str(found[0])
    else:
        raise AssertionError(f"not refused: {found[0]}")
    return parse(_without(text, found), FILE) if len(found) < MISTAKES else ()


def _index(text: str, found: tuple[MappingError, ...]) -> Index:
    """The same rules by the way of a request; a file with a mistake is refused with the same words."""
    if found:
        try:
            Index(text.encode(), FILE)
        except MappingError as error:
            assert str(error) == str(found[0])
        else:
            raise AssertionError(f"the index does not refuse: {found[0]}")
    return Index(_without(text, found).encode(), FILE)


def _without(text: str, found: tuple[MappingError, ...]) -> str:
    wrong = {mistake.line for mistake in found}
    return "\n".join("" if number in wrong else line for number, line in enumerate(text.split("\n"), 1))


def _check_rule(rule: Rule, text: str) -> None:
    line = text.split("\n")[rule.line - 1]
    assert parse(line, FILE) == (replace(rule, line=1),)
    (again,) = parse(f"{rule.who} {rule.spec or 'deny'}", FILE)
    assert (again.who, again.spec) == (rule.who, rule.spec), f"{rule.who} {rule.spec} is read again as {again}"


def _queries(asked: bytes, rules: tuple[Rule, ...]) -> list[Query]:
    """The one asked, for each user that the file names too."""
    user, _, rest = asked.partition(b"|")
    script, _, host = rest.partition(b"|")
    named = dict.fromkeys(rule.who.text for rule in rules[:_USERS])
    users = (None if user == b"-" else user.decode("utf-8", "replace"), None, *named)
    groups = Known(frozenset(rule.who.text for rule in rules if len(rule.who.text) % 2))
    where = os.fsdecode(script), host.decode("ascii", "backslashreplace")
    return [Query(one, *where, (), NOTHING if one is None else groups) for one in users]


def _check_decision(table: Table, rules: tuple[Rule, ...], dead: tuple[Rule, ...], query: Query) -> None:
    wanted = next((rule for rule in rules if _applies(rule, query)), None)
    assert wanted not in dead, f"{wanted} is called unreachable"
    steps = table.trace(query)
    assert all(step.why.isprintable() for step in steps)
    assert [step.rule for step in steps if step.matched] == ([] if wanted is None else [wanted]), query
    try:
        verdict = Chain([table]).decide(query)
    except Denied as denied:
        assert str(denied).isprintable(), denied
        assert denied.rule == ("-" if wanted is None else wanted.where), f"{denied}, wanted {wanted}"
        assert wanted is None or wanted.spec is None, f"{wanted} is denied"
        return
    assert wanted is not None, f"{query} is let in by {verdict}"
    assert (verdict.where, verdict.spec) == (wanted.where, wanted.spec), f"{verdict}, wanted {wanted}"
    assert (verdict.sendfile, verdict.account) == (wanted.options.sendfile, wanted.options.account)
    limits = verdict.limits(Limits())
    assert all(getattr(limits, name) == value > 0 for name, value in wanted.options.limits)


def _applies(rule: Rule, query: Query) -> bool:
    who, user, host = rule.who, query.user, query.host.lower().removesuffix(".")
    match who.kind:
        case Kind.NAME:
            mine = user == who.text
        case Kind.GLOB:
            mine = user is not None and fnmatchcase(user, who.text)
        case Kind.ANONYMOUS:
            mine = user is None
        case Kind.EVERYONE:
            mine = True
        case Kind.GROUP:
            mine = who.text in query.known.groups
    return (
        mine
        and (rule.script is None or fnmatchcase(query.script, rule.script.text))
        and (rule.host is None or fnmatchcase(host, rule.host.text))
    )
