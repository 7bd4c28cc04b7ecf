"""The answer to a probe of `selcgi check-front`: what arrived, and whom the listener takes the user for.

Decides what is told. Values only of an allow-list: of a proof or a password it says that it is there, never what it
is. Starts nothing and asks no rule. Called by serve/request.py in place of a script.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from selcgi import VERSION
from selcgi.errors import SelcgiError
from selcgi.serve.exchange import Exchange, Pairs
from selcgi.serve.probe import LostClient, ProbePage
from selcgi.wire.environ import Request
from selcgi.wire.response import ResponseHead

_BODY_SECONDS = 10.0
_WAIT_SECONDS = 10.0  # for a client that is meant to leave
_LOOK_SECONDS = 0.5  # whether the check is over meanwhile
_LINE_BYTES = 512  # of a head that is made longer, a header
_MOST_LINES = 63  # just below Settings.head_bytes, the longest head that a script may write
_SHOWN = ("REMOTE_USER", "AUTH_TYPE", "CONTENT_LENGTH")
_SHOWN_BYTES = 256
_PASSWORDS = (
    "HTTP_AUTHORIZATION",
    "HTTP_PROXY_AUTHORIZATION",
    "REDIRECT_HTTP_AUTHORIZATION",
    "REMOTE_PASSWD",
    "PHP_AUTH_PW",
)


async def answer_probe(page: ProbePage, question: str, exchange: Exchange, identify: Callable[[], Request]) -> None:
    """`question`: "show", "wait" for a client that leaves, or "head.N" for a head with N lines more."""
    told = {"probe": VERSION, **_arrived(exchange.pairs), **_identity(exchange, identify)}
    exchange.entry.step, exchange.entry.status = "probe", 200
    told["received"] = await _take_body(exchange)
    if question == "wait":
        await _wait(page, exchange)
    kind, _, number = question.partition(".")
    lines = min(int(number), _MOST_LINES) if kind == "head" and number.isdecimal() else 0
    exchange.write(_encode(told, lines))


def _arrived(pairs: Pairs) -> dict[str, Any]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        text = value[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
        values.setdefault(name.decode("latin-1"), []).append(text)
    return {
        "server": values.get("SERVER_SOFTWARE", [""])[0],
        **{name.lower(): values.get(name, []) for name in _SHOWN},
        "proof": any(values.get("SELCGI_PROOF", [])),
        "http_proxy": any(values.get("HTTP_PROXY", [])),
        "passwords": [name for name in _PASSWORDS if any(values.get(name, []))],
    }


def _identity(exchange: Exchange, identify: Callable[[], Request]) -> dict[str, Any]:
    try:
        user, refused, fix = identify().user, "", ""
    except SelcgiError as error:
        user, refused, fix = None, error.reason, error.fix
    return {"identity": exchange.listener.identity, "user": user, "refused": refused, "fix": fix}


async def _take_body(exchange: Exchange) -> int:
    body = exchange.body
    body.discard()
    with suppress(TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS):
            await exchange.input_until(lambda: body.ended, _BODY_SECONDS)
    return body.received


async def _wait(page: ProbePage, exchange: Exchange) -> None:
    """Say nothing until the client is reported lost, the check is over, or it has been long enough."""
    page.lost_client = LostClient.WAITS
    with suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_SECONDS):
            while page.armed and not exchange.aborted:
                with suppress(TimeoutError):
                    await exchange.input_until(lambda: False, _LOOK_SECONDS)
    if exchange.aborted and page.armed:
        page.lost_client = LostClient.REPORTED


def _encode(told: dict[str, Any], lines: int) -> bytes:
    body = json.dumps(told).encode()
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
    ]
    names = [b"X-Selcgi-Fill-%02d" % number for number in range(lines)]
    headers += [(name, b"x" * (_LINE_BYTES - len(name) - 4)) for name in names]  # ": " and CRLF
    return ResponseHead(200, "OK", tuple(headers), len(body)).encode() + body
