"""A twin of a domain: another type with the same attributes, roles and rules, as a module of its own.

Decides what a twin is: everything that the loaded policy says of the domain itself is said of the twin, in both
directions, and what it says of the domain's attributes holds by those. Only that no warm interpreter moves into a twin,
which is run fresh. Only the twin can be permissive. Pure: facts in, CIL out. Used by learn/rehearsal.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from selcgi.policy.learned import Rule


@dataclass(frozen=True, slots=True)
class Domain:
    """What the loaded policy says of one type. `rules`: kind, source, target, class, permissions or new type."""

    name: str
    attributes: tuple[str, ...]
    roles: tuple[str, ...]
    rules: tuple[Sequence[Any], ...]


def twin_text(domain: Domain, twin: str, learned: Sequence[Rule], permissive: bool) -> str:
    """The whole module. `learned` names the domain, and is given to the twin."""
    return "\n".join(_lines(domain, twin, learned, permissive)) + "\n"


def _lines(domain: Domain, twin: str, learned: Sequence[Rule], permissive: bool) -> Iterator[str]:
    yield f"(type {twin})"
    yield from (f"(roletype {role} {twin})" for role in domain.roles)
    yield from (f"(typeattributeset {name} {twin})" for name in domain.attributes)
    for kind, source, target, classname, what in domain.rules:
        one, two = (twin if name == domain.name else name for name in (source, target))
        if two == twin and "dyntransition" in what:
            continue
        tail = f"({classname} ({' '.join(what)}))" if kind != "typetransition" else f"{classname} {what}"
        yield f"({kind} {one} {two} {tail})"
    yield from (rule.text(twin) for rule in learned)
    if permissive:
        yield f"(typepermissive {twin})"
