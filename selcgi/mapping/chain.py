"""Several sources of a mapping, asked in the order given: the first that answers decides, and no answer means no.

Decides only the order. A source answers with a Verdict, or with Denied, which ends the search; None is no answer, and
the next one is asked (as mod_selinux did with its Map, Env and Val). Must not wait, log or read anything.
Built by serve/sources.py and cli/, asked by serve/request.py for every request.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from selcgi.context import ContextSpec
from selcgi.errors import Denied
from selcgi.mapping.categories import BANDS, REQUEST, USER, Bands, sample, wants
from selcgi.mapping.known import Asked
from selcgi.mapping.table import Query, Table, Verdict
from selcgi.mapping.words import show


class Look(Protocol):
    """Something that was looked at for a request, and in words why it matched or not."""

    @property
    def where(self) -> str: ...
    @property
    def matched(self) -> bool: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A Look at what is no rule of a mapping file."""

    where: str
    matched: bool
    why: str


class Source(Protocol):
    """One --map, or several files one behind the other."""

    def answer(self, query: Query) -> Verdict | None:
        """None is no answer; Denied is one, and final."""

    def trace(self, query: Query) -> Sequence[Look]:
        """All that answer() looks at; a match comes last."""

    def templates(self) -> Iterable[tuple[ContextSpec, str]]:
        """Each distinct context that it may give, with the place that says so."""

    def warmed(self) -> Iterable[tuple[ContextSpec, str]]:
        """A context of each domain for which it asks for warm interpreters, with the first place that does."""


class Chain:
    """The whole mapping; never changes once built."""

    __slots__ = ("_sources", "asked")

    def __init__(self, sources: Iterable[Source], asked: Asked = Asked()) -> None:  # noqa: B008 - a value
        """`asked`: what decide() needs to find in Query.known."""
        self._sources = tuple(sources)
        self.asked = asked

    def decide(self, query: Query) -> Verdict:
        """Of the first source that answers. Denied when it says so, or when none does."""
        for source in self._sources:
            verdict = source.answer(query)
            if verdict is not None:
                return verdict
        raise _no_rule(query)

    def trace(self, query: Query) -> Iterator[Look]:
        """All that decide() looks at, what decides last."""
        for source in self._sources:
            looks = source.trace(query)
            yield from looks
            if looks and looks[-1].matched:
                return

    def specs(self, bands: Bands = BANDS) -> Iterator[tuple[ContextSpec, str]]:
        """Of all sources, made one by one; a context with c{user} or c{request} as somebody has it."""
        return ((sample(spec, bands), where) for spec, where in self.templates())

    def templates(self) -> Iterator[tuple[ContextSpec, str]]:
        """The same as the sources have them."""
        return (pair for source in self._sources for pair in source.templates())

    def warmed(self) -> Iterator[tuple[ContextSpec, str]]:
        """Of all sources: a context of each domain for which a rule asks for warm interpreters, and where."""
        return (pair for source in self._sources for pair in source.warmed())

    def accounts(self) -> Iterator[tuple[str, str]]:
        """Each that a uid= names, with the first place of each file that does."""
        return (pair for source in self._sources if isinstance(source, Table) for pair in source.accounts())

    def given(self, bands: Bands) -> Bands | None:
        """From which users or requests are given categories; None where no rule has c{user} or c{request}."""
        return bands if any(self.unfilled()) else None

    def unfilled(self) -> Iterator[tuple[ContextSpec, str]]:
        """Those of templates() with c{user} or c{request}; of a million others none is looked at."""
        for source in self._sources:
            found = source.unfilled() if isinstance(source, Table) else source.templates()
            yield from ((spec, where) for spec, where in found if wants(spec, USER) or wants(spec, REQUEST))


def _no_rule(query: Query) -> Denied:
    user = "a request without a user" if query.user is None else f"user {show(query.user)}"
    return Denied(
        f"no rule matches {user}, script {show(query.script)}, host {show(query.host)}",
        "add a line to the mapping file",
    )
