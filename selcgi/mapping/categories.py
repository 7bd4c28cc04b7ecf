"""`c{user}` and `c{request}` in a range: what they may be beside, and which categories a number stands for.

Decides the grammar of such a range, and the pair of categories of the n-th user or request: pairs only, so that no two
sets are equal and none dominates another. Must not know who has which number: system/registry.py records that for
users, system/leases.py lends it to requests. Called by rules.py for each line, by serve/categories.py for each request.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb, isqrt
from typing import Protocol

from selcgi.context import Band, ContextSpec, is_range
from selcgi.mapping.words import Mistake, show
from selcgi.settings import REQUEST_BAND, USER_BAND

USER, REQUEST = "c{user}", "c{request}"
PAIR = 2
Pair = tuple[int, int]

_HOW = f"write s0:{USER}, s0:c5,{USER} or s0:{USER}-s0:{USER},{REQUEST}"


@dataclass(frozen=True, slots=True)
class Bands:
    """Where the pairs come from. ValueError when one category could be a user's and a request's."""

    user: Band
    request: Band

    def __post_init__(self) -> None:
        if self.user.overlaps(self.request):
            raise ValueError(f"the categories of users, {self.user}, and of requests, {self.request}, overlap")

    @property
    def users(self) -> int:
        return comb(len(self.user), PAIR)

    @property
    def requests(self) -> int:
        return comb(len(self.request), PAIR)

    @property
    def others(self) -> str:
        """What a rule that names categories is to name."""
        return f"use others than {self.user} and {self.request}, or all of them"


BANDS = Bands(USER_BAND, REQUEST_BAND)


class Templates(Protocol):
    """As much of a table, or of a chain of them, as says which contexts it gives."""

    def templates(self) -> Iterable[tuple[ContextSpec, str]]: ...
    def unfilled(self) -> Iterable[tuple[ContextSpec, str]]: ...


def unrank(number: int, band: Band) -> Pair:
    """The pair that `number`, from 0, stands for in the band. IndexError when the band has no more.

    In the order (0,1) (0,2) (1,2) (0,3) ..: the number of (a, b) is comb(b, 2) + a (the combinatorial number system).
    """
    if not 0 <= number < comb(len(band), PAIR):
        raise IndexError(f"{band} has no pair {number}")
    higher = (1 + isqrt(1 + 8 * number)) // 2
    return band.first + number - comb(higher, PAIR), band.first + higher


def text_of(pair: Pair) -> str:
    """As a range has it, `c512,c515`."""
    return ",".join(f"c{category}" for category in pair)


def check_template(text: str) -> None:
    """Mistake unless `text` is a range but for its braces, each a place of a whole category, and the high level has
    all that the low one has: the kernel refuses a range whose high level does not dominate the low one."""
    if not is_range(text.replace(USER, "c0").replace(REQUEST, "c0")):
        raise Mistake(f"{show(text)} is no range", _HOW)
    levels = [[item for item in _items(level) if "{" in item] for level in text.split("-")]
    for items in levels:
        if any(item not in (USER, REQUEST) for item in items):
            raise Mistake(f"{show(text)} has a span of categories that are not known yet", _HOW)
        if len(set(items)) < len(items):
            raise Mistake(f"{show(text)} names the same categories twice", "name them once in a level")
    if missing := set(levels[0]).difference(levels[-1]):
        raise Mistake(f"{show(text)}: the high level lacks {missing.pop()} of the low one", "repeat it there")


def wants(spec: ContextSpec, place: str) -> bool:
    """Whether `place`, USER or REQUEST, is still to be filled."""
    return place in (spec.range or "")


def fill(spec: ContextSpec, place: str, pair: Pair) -> ContextSpec:
    return spec if spec.range is None else replace(spec, range=spec.range.replace(place, text_of(pair)))


def sample(spec: ContextSpec, bands: Bands = BANDS) -> ContextSpec:
    """A context as some user of the rule has it, to ask the policy about: the last pairs of the bands."""
    return fill(
        fill(spec, USER, unrank(bands.users - 1, bands.user)), REQUEST, unrank(bands.requests - 1, bands.request)
    )


@lru_cache(maxsize=4096)  # a directory's contexts are looked at for each request
def clash(text: str, bands: Bands, over_all: bool = True) -> Band | None:
    """Categories that the range names and that could be somebody's own, too; with `over_all` not a span of a whole
    band, which is meant to dominate everybody, unless it stands beside a place."""
    spans = [Band.of(item) for level in text.split("-") for item in _items(level) if "{" not in item]
    for span in spans:
        for band in (bands.user, bands.request):
            if span.overlaps(band) and ("{" in text or not over_all or not span.covers(band)):
                return span
    return None


def clashes(table: Templates, bands: Bands = BANDS) -> Iterator[tuple[ContextSpec, str, str]]:
    """Each context whose categories could be somebody's own, too, its place, and how; none where no rule has USER or
    REQUEST, since nobody is given any then."""
    if not any(table.unfilled()):
        return
    for spec, where in table.templates():
        if span := clash(spec.range or "", bands):
            yield spec, where, f"{span} of {spec.range} can be somebody's own, too"


def misgivings(spec: ContextSpec) -> Collection[str]:
    """What such a range does that may not be meant, a sentence each."""
    low = (spec.range or "").split("-")[0]
    found = []
    if REQUEST in low:
        found.append(f"files that its scripts leave carry {REQUEST}, and a later request with the same pair reads them")
    if wants(spec, USER) and USER not in low:
        found.append(f"files that its scripts make do not carry {USER}, and other users may read them")
    return found


def _items(level: str) -> Iterator[str]:
    categories = level.partition(":")[2]
    return iter(categories.split(",") if categories else ())
