"""c{user} and c{request} of a rule become categories here: the user's own, and those lent to one request.

Decides who gets some: a user whose name the listener has proven, at the first request or only by command; and that a
request keeps what it was lent until none of its processes is left. Must not block: while another process writes the
registry, or all numbers are lent, the request waits and the worker goes on. Made by serve/site.py, called by
serve/request.py.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from selcgi.context import Context
from selcgi.errors import ClientGone, Denied, Overloaded, RegistryFailed, StartRefused
from selcgi.mapping.categories import REQUEST, USER, Bands, Pair, clashes, fill, unrank, wants
from selcgi.mapping.chain import Chain
from selcgi.mapping.owned import check_categories
from selcgi.mapping.table import Verdict
from selcgi.serve.exchange import Exchange
from selcgi.settings import CategorySettings, Settings
from selcgi.system.leases import Leases
from selcgi.system.mapfile import check_folders, own_owners
from selcgi.system.registry import Registry

_PAUSE = 0.02


class Categories:
    """Of one site. `registry` is None when no rule has c{user}; `context` is selcgi's own."""

    def __init__(
        self, settings: Settings, bands: Bands, registry: Registry | None, lends: bool, context: Context | None
    ) -> None:
        self.bands = bands
        self._settings = settings.categories
        self._wait_seconds = settings.queue_seconds
        self._registry = registry
        self._lends = lends
        self._given = bands if registry is not None or lends else None
        self._context = context
        self._writing, self._line = asyncio.Lock(), asyncio.Lock()

    def open_leases(self) -> Leases | None:
        """For one worker, None when no rule has c{request}. OSError as of open(2)."""
        return Leases(self._settings.leases, self.bands.requests) if self._lends else None

    def own(self, verdict: Verdict, exchange: Exchange, user: str | None) -> Coroutine[None, None, Verdict] | None:
        """With the user's own in place of c{user}; None when there is no c{user}. Denied when there are none for this
        one."""
        check_categories(verdict, user, self._given)
        return self._own(verdict, exchange, user) if user is not None and wants(verdict.spec, USER) else None

    async def _own(self, verdict: Verdict, exchange: Exchange, user: str) -> Verdict:
        number = await self._number(verdict, user)
        return self._filled(verdict, exchange, USER, unrank(number, self.bands.user))

    async def _number(self, verdict: Verdict, user: str) -> int:
        """While another process writes the registry, one request of a worker at a time tries again, in their order."""
        try:
            return self._number_now(verdict, user)
        except Overloaded as error:
            locked = error
        try:
            async with asyncio.timeout(self._wait_seconds), self._writing:
                while True:
                    with suppress(Overloaded):
                        return self._number_now(verdict, user)
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise locked from None

    def _number_now(self, verdict: Verdict, user: str) -> int:
        assert self._registry is not None, "the site has looked whether a rule has c{user}"
        number = self._registry.number(user)
        if number is None and self._settings.by_command:
            reason = f"rule {verdict.where} has {USER}, and {user!r} has no categories"
            raise Denied(
                reason, "selcgi categories assign USER, or --assign-categories first-request", rule=verdict.where
            )
        return self._registry.assign(user) if number is None else number

    def lent(
        self, verdict: Verdict, exchange: Exchange, leases: Leases | None
    ) -> AbstractAsyncContextManager[Verdict] | None:
        """With categories of the request's own in place of c{request}, until no process of it is left; None when it
        needs none. Overloaded when nobody has given any back for as long as a request may wait."""
        return self._lent(verdict, exchange, leases) if wants(verdict.spec, REQUEST) else None

    @asynccontextmanager
    async def _lent(self, verdict: Verdict, exchange: Exchange, leases: Leases | None) -> AsyncIterator[Verdict]:
        if leases is None:
            raise RegistryFailed("nothing lends categories to requests here", "please report it")
        number = await self._lease(leases, exchange)
        try:
            exchange.entry.alone = True
            yield self._filled(verdict, exchange, REQUEST, unrank(number, self.bands.request))
        finally:
            if exchange.processes_gone:
                leases.give_back(number)

    async def _lease(self, leases: Leases, exchange: Exchange) -> int:
        """One request of a worker at a time looks again and again, the others stand in line behind it."""
        if not self._line.locked() and (number := leases.take()) is not None:
            return number
        try:
            async with asyncio.timeout(self._wait_seconds), self._line:
                while (number := leases.take()) is None:
                    if exchange.aborted:
                        raise ClientGone(f"{exchange.why_gone} while its request waited for categories")
                    await asyncio.sleep(_PAUSE)
                return number
        except TimeoutError:
            reason = f"all {self.bands.requests} pairs of {self.bands.request} are lent"
            fix = "a wider --request-categories, or fewer --concurrent"
            raise Overloaded(reason, fix, limit="categories") from None

    def _filled(self, verdict: Verdict, exchange: Exchange, place: str, pair: Pair) -> Verdict:
        spec = fill(verdict.spec, place, pair)
        exchange.entry.context = str(spec.whole(self._context))
        return replace(verdict, spec=spec)


def open_categories(settings: Settings, table: Chain, context: Context | None) -> Categories:
    """For the rules of `table`. StartRefused or RegistryFailed when they can't have what they ask for."""
    bands = bands_of(settings.categories)
    gives = any(wants(spec, USER) for spec, _ in table.unfilled())
    lends = any(wants(spec, REQUEST) for spec, _ in table.unfilled())
    for _, where, how in clashes(table, bands):
        raise StartRefused(f"{where}: {how}", bands.others)
    registry = None
    if gives:
        registry = Registry(settings.categories.registry, bands.user)
        registry.patience = 0.0  # from now on it is a worker that asks
    found = Categories(settings, bands, registry, lends, context)
    if lends:
        _try_to_lend(found, settings.categories.leases)
    return found


def bands_of(settings: CategorySettings) -> Bands:
    """StartRefused when they overlap."""
    try:
        return Bands(settings.users, settings.requests)
    except ValueError as error:
        raise StartRefused(str(error), "set --user-categories or --request-categories to others") from None


def _try_to_lend(found: Categories, path: Path) -> None:
    """What would fail for each request fails now."""
    check_folders(path, own_owners())
    try:
        if leases := found.open_leases():
            leases.take()
            leases.free()
    except OSError as error:
        reason = f"{path} can't be opened: {error.strerror}"
        raise StartRefused(
            reason, "give its folder to selcgi's user, and remove a file there of somebody else"
        ) from None
