"""What becomes of a worker's zygotes, for the administrator: lines of the log, and the rows of `selcgi status`.

Decides the words, and that a reason which every request would repeat stands there once a minute. Must not end or start
one. Made by serve/worker.py, told by launch/zygotes.py.
"""

import logging
import time

from selcgi.errors import ZygoteFailed
from selcgi.launch.zygote import Zygote
from selcgi.serve.zygotepage import Warmed, ZygotePage
from selcgi.serve.zygoterows import ZygoteRows

LOG = logging.getLogger("selcgi")
_AGAIN_SECONDS = 60.0  # until the same reason is told again
_REASONS = 256  # remembered


class ZygoteLog:
    """See launch/zygotes.py, Observer."""

    def __init__(self, page: ZygotePage) -> None:
        self._page = page
        self._rows = ZygoteRows(page)
        self._told: dict[tuple[str, str], float] = {}

    def changed(self, zygote: Zygote) -> None:
        self._rows.changed(zygote)
        if zygote.state == "ended" and zygote.failed:
            LOG.error("zygote script=%s pid=%d failed: %s; %s", zygote.application, zygote.pid, zygote.why, zygote.fix)
        elif zygote.state in ("retiring", "ended"):
            LOG.info("zygote script=%s pid=%d %s: %s", zygote.application, zygote.pid, zygote.state, zygote.why)

    def said(self, zygote: Zygote, line: str) -> None:
        LOG.info("zygote script=%s pid=%d %a", zygote.application, zygote.pid, line)

    def forked(self) -> None:
        self._page.counts[Warmed.REQUESTS] += 1

    def retried(self) -> None:
        self._page.counts[Warmed.RETRIES] += 1

    def fell_back(self, script: str, error: ZygoteFailed) -> None:
        self._page.counts[Warmed.COLD] += 1
        if self._is_new(script, error.reason):
            LOG.warning("script=%s is started without a warm interpreter: %s", script, error)

    def _is_new(self, script: str, reason: str) -> bool:
        now, key = time.monotonic(), (script, reason)
        if now < self._told.get(key, 0.0):
            return False
        if len(self._told) >= _REASONS:
            self._told.clear()
        self._told[key] = now + _AGAIN_SECONDS
        return True
