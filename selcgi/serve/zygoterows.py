"""A worker's zygotes as rows and counts of its page.

Decides which row is whose, and what counts as a failure: an end that nobody has asked for. Must not end or start one.
Made by serve/zygotelog.py, which is told by launch/zygotes.py.
"""

import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from selcgi.launch.zygote import Zygote
from selcgi.serve.zygotepage import Row, Warmed, ZygotePage


@dataclass(slots=True)
class _Shown:
    place: int
    row: Row
    served: int = 0


class ZygoteRows:
    """Of one worker."""

    def __init__(self, page: ZygotePage) -> None:
        self._page = page
        self._shown: WeakKeyDictionary[Zygote, _Shown] = WeakKeyDictionary()

    def changed(self, zygote: Zygote) -> None:
        """Once it has ended, nothing of it changes any more."""
        shown = self._shown.get(zygote)
        if shown is None:
            row = _row(zygote, zygote.pid)
            self._shown[zygote] = shown = _Shown(self._page.add(row), row)
            self._page.counts[Warmed.STARTS] += 1
        elif shown.row.state == "ended":
            return
        if zygote.served != shown.served:
            shown.served = zygote.served
            self._page.served(shown.place, zygote.served)
        if zygote.state != shown.row.state or zygote.state == "ended":
            self._moved(zygote, shown)

    def _moved(self, zygote: Zygote, shown: _Shown) -> None:
        before = shown.row.state
        shown.row = _row(zygote, zygote.pid or shown.row.pid)
        if zygote.state != "ended":
            self._page.put(shown.place, shown.row)
            return
        self._page.end(shown.place, shown.row)
        if zygote.failed or before != "retiring":
            self._page.counts[Warmed.FAILURES] += 1


def _row(zygote: Zygote, pid: int) -> Row:
    of = zygote.application
    return Row(
        state=zygote.state,
        pid=pid,
        since=zygote.since if zygote.state != "ended" else time.monotonic(),
        requests=zygote.served,
        domain=of.context.domain if of.context is not None else "",
        account=of.account.name if of.account is not None else "",
        application=of.served,
        script=str(of),
        why=zygote.why,
    )
