"""What becomes of a worker's zygotes, for the administrator: lines of the log, and the rows of `selcgi status`.

Decides the words, that a reason which every request would repeat stands there once a minute, and how much is logged of
what the zygotes of an application write: so many lines and characters a minute, however often one is started anew. What
is left out is counted. Must not end or start one. Made by serve/worker.py, told by launch/zygotes.py.
"""

import logging
import time
from dataclasses import dataclass

from selcgi.errors import ZygoteFailed
from selcgi.launch.zygote import Application, Zygote
from selcgi.serve.escapes import LINE_BYTES, cut, word
from selcgi.serve.zygotepage import Warmed, ZygotePage
from selcgi.serve.zygoterows import ZygoteRows
from selcgi.settings import KIB

LOG = logging.getLogger("selcgi")
_AGAIN_SECONDS = 60.0  # until the same reason is told again
_REASONS = 256  # remembered
_PORTION_SECONDS = 60.0
_LINES, _CHARACTERS = 200, 32 * KIB  # of an application's zygotes in that time, as they are written to the log
_PORTIONS = 256  # remembered


@dataclass(slots=True)
class _Portion:
    """What may still be logged, and what was not."""

    until: float
    lines: int = _LINES
    characters: int = _CHARACTERS
    left_out_lines: int = 0
    left_out_characters: int = 0

    def takes(self, line: str, written: str) -> bool:
        if self.lines and len(written) <= self.characters:
            self.lines -= 1
            self.characters -= len(written)
            return True
        self.left_out_lines += 1
        self.left_out_characters += len(line)
        return False


class ZygoteLog:
    """See launch/zygotes.py, Observer."""

    def __init__(self, page: ZygotePage) -> None:
        self._page = page
        self._rows = ZygoteRows(page)
        self._told: dict[tuple[str, str], float] = {}
        self._portions: dict[Application, _Portion] = {}

    def changed(self, zygote: Zygote) -> None:
        self._rows.changed(zygote)
        if zygote.state == "ended":
            self._tell_left_out(zygote)
        if zygote.state == "ended" and zygote.failed:
            LOG.error("%s failed: %s; %s", _name(zygote), zygote.why, zygote.fix)
        elif zygote.state in ("retiring", "ended"):
            LOG.info("%s %s: %s", _name(zygote), zygote.state, zygote.why)

    def said(self, zygote: Zygote, line: str) -> None:
        written, now = cut(ascii(line), LINE_BYTES), time.monotonic()
        portion = self._portions.get(zygote.application)
        if portion is None or portion.until <= now:
            self._tell_left_out(zygote)
            if len(self._portions) >= _PORTIONS:
                self._portions.clear()
            portion = self._portions[zygote.application] = _Portion(now + _PORTION_SECONDS)
        if portion.takes(line, written):
            LOG.info("%s %s", _name(zygote), written)

    def _tell_left_out(self, zygote: Zygote) -> None:
        portion = self._portions.get(zygote.application)
        if portion is not None and portion.left_out_lines:
            lines, characters = portion.left_out_lines, portion.left_out_characters
            LOG.warning("%s %d more lines of %d characters were not logged", _name(zygote), lines, characters)
            portion.left_out_lines = portion.left_out_characters = 0

    def forked(self) -> None:
        self._page.counts[Warmed.REQUESTS] += 1

    def retried(self) -> None:
        self._page.counts[Warmed.RETRIES] += 1

    def fell_back(self, script: str, error: ZygoteFailed) -> None:
        self._page.counts[Warmed.COLD] += 1
        if self._is_new(script, error.reason):
            LOG.warning("script=%s is started without a warm interpreter: %s", word(script), error)

    def _is_new(self, script: str, reason: str) -> bool:
        now, key = time.monotonic(), (script, reason)
        if now < self._told.get(key, 0.0):
            return False
        if len(self._told) >= _REASONS:
            self._told.clear()
        self._told[key] = now + _AGAIN_SECONDS
        return True


def _name(zygote: Zygote) -> str:
    return f"zygote script={word(str(zygote.application))} pid={zygote.pid}"
