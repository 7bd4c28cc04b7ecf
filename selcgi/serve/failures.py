"""A request that failed, as a record for the administrator: what was asked, what was decided, what came of it.

Decides which requests are worth one, what it holds (wire/redaction.py says what it may), and how many a worker makes:
a flood must not cost more than its first. The record goes to the recorder, serve/recorder.py, in one datagram, and is
dropped when that does not keep up: a request never waits for it. Called by serve/request.py.
"""

import json
import re
import socket
import time
from contextlib import suppress
from typing import Any

from selcgi.errors import ClientGone, Overloaded, ScriptNotFound
from selcgi.serve.accesslog import Entry, Value
from selcgi.serve.exchange import Exchange, Pairs
from selcgi.wire.redaction import KEPT, harmless, harmless_head

RECORD_BYTES = 16384  # of one, as JSON
KINDS = ("failed", "refused", "missing", "denied")  # each has its own room: a flood of one pushes out no other
_AT_ONCE, _A_SECOND = 16, 1.0  # records of a kind by one worker; the log has the others
_PARAMS = 100
_NAMES, _NAME_BYTES = 50, 48  # of params that are not kept

_unprintable = re.compile(rb"[^!-~]")


def kind(entry: Entry) -> str:
    """Empty for what is no failure: an answer, be it the script's own 404, and a client that left."""
    if entry.step == ClientGone.step:
        return ""
    if entry.reason and entry.status == ScriptNotFound.status:
        return "missing"
    if entry.reason and (400 <= entry.status < 500 or entry.status == Overloaded.status):
        return "refused"
    if entry.reason or entry.status >= 500 or entry.exit.startswith("signal"):
        return "failed"
    return "denied" if entry.denied else ""  # it was answered, but the kernel refused its script something


class Keeper:
    """Sends the records of one worker."""

    def __init__(self, recorder: socket.socket) -> None:
        self._recorder = recorder
        self._left = dict.fromkeys(KINDS, float(_AT_ONCE))
        self._at = time.monotonic()

    def keep(self, exchange: Exchange) -> None:
        """Make the record of a request that has ended, if it is worth one."""
        what = kind(exchange.entry)
        if what and self._may(what):
            with suppress(OSError):  # the recorder is busy or gone
                self._recorder.send(encode(exchange, what), socket.MSG_DONTWAIT)

    def _may(self, what: str) -> bool:
        now = time.monotonic()
        earned, self._at = (now - self._at) * _A_SECOND, now
        for name, left in self._left.items():
            self._left[name] = min(left + earned, _AT_ONCE)
        if self._left[what] < 1:
            return False
        self._left[what] -= 1
        return True


def encode(exchange: Exchange, what: str) -> bytes:
    """One line of JSON in printable ASCII, at most RECORD_BYTES with its end. Long texts are cut until it fits."""
    for most in (2048, 512, 128, 0):
        line = json.dumps(_record(exchange, what, most)).replace("\x7f", r"\u007f").encode()
        if len(line) < RECORD_BYTES:
            break
    return line


def _record(exchange: Exchange, what: str, most: int) -> dict[str, Any]:
    """`most` bytes of each text. `changed` names the params that are not in it, or not as they were; not the proof,
    which nobody misses."""
    entry = exchange.entry
    params, changed = _params(exchange.pairs, most)
    fields = {name: _shortened(value, most or 64) for name, value in entry.fields().items()}
    return {
        "kind": what,
        **fields,
        "limit": entry.limit,
        "waited": entry.waited,
        "params": params,
        "changed": changed,
        "stdout": _text(harmless_head(exchange.stdout.data)[:most]),
        "stderr": _text(harmless(exchange.stderr.data)[:most]),
    }


def _params(pairs: Pairs, most: int) -> tuple[list[tuple[str, str]], list[str]]:
    kept, changed = [], set[bytes]()
    for name, value in pairs[:_PARAMS]:
        if name in KEPT:
            shown = harmless(value[:most])
            kept.append((_text(name), _text(shown)))
        if name not in KEPT or shown != value:
            changed.add(name)
    changed |= {name for name, _ in pairs[_PARAMS:]}
    names = (
        _unprintable.sub(b"?", name[:_NAME_BYTES]).decode() for name in sorted(changed - {b"SELCGI_PROOF"})[:_NAMES]
    )
    return kept, list(names)


def _shortened(value: Value, most: int) -> Value:
    if isinstance(value, tuple):
        return tuple(one[:most] for one in value)
    return value[:most] if isinstance(value, str) else value


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
