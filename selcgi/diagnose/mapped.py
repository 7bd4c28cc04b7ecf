"""The contexts of a mapping, as the isolation proof compares them: each distinct one, a template as several have it.

Decides for which users and requests a template stands, and how many contexts are too many. Whose categories could be
another's is mapping/categories.py's answer; what one context may do to another is isolation.py's. Must not ask the
policy. Called by cli/audit_map.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from selcgi.context import LAUNCHER, Context, ContextSpec
from selcgi.errors import PolicyUnreadable
from selcgi.mapping.categories import BANDS, REQUEST, USER, Bands, Templates, clashes, fill, unrank, wants

CONTEXTS_MOST = 1000


@dataclass(frozen=True, slots=True)
class Mapped:
    """A context of the mapping, and the first place that gives it.

    `owner`: the user whose c{user} it has, by whatever rule. In one domain his requests share his files, and reach each
    other but for those that are `alone`, with a c{request}. `clash`: which of its categories could be somebody's own.
    """

    context: Context
    where: str
    owner: str = ""
    alone: bool = False
    clash: str = ""


def mapped(table: Templates, bands: Bands = BANDS) -> tuple[Mapped, ...]:
    """The distinct contexts; two users of a c{user}, two requests of a c{request}. PolicyUnreadable when too many."""
    odd = {spec: how for spec, _, how in islice(clashes(table, bands), CONTEXTS_MOST)}
    found: dict[Context, Mapped] = {}
    for spec, where in table.templates():
        for number, one in enumerate(_samples(spec, bands)):
            context = one.resolve(LAUNCHER)
            owner = f"user {number // 2}" if wants(spec, USER) else ""
            found.setdefault(context, Mapped(context, where, owner, wants(spec, REQUEST), odd.get(spec, "")))
        if len(found) > CONTEXTS_MOST:
            reason = f"the mapping gives more than {CONTEXTS_MOST} contexts, and each is compared with each"
            raise PolicyUnreadable(reason, "write c{user} for the categories of users, or check a part of the file")
    return tuple(found.values())


def _samples(spec: ContextSpec, bands: Bands) -> Iterator[ContextSpec]:
    """One user with two requests, and another user; fewer where a band has fewer pairs."""
    for user, request in ((0, 0), (0, 1), (1, 2)):
        filled = fill(spec, USER, unrank(min(user, bands.users - 1), bands.user))
        yield fill(filled, REQUEST, unrank(min(request, bands.requests - 1), bands.request))
