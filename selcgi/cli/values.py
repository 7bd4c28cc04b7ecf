"""How values are written on the command line: times, sizes, bands, listeners; and the options that take them.

Decides what is a mistake there, a click.BadParameter with an example. Must not look at the system. Used by the options
of cli/.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from selcgi.context import Band
from selcgi.settings import ListenerSettings
from selcgi.system.sockets import parse_listener

Command = TypeVar("Command", bound=Callable[..., Any])
_DAY = 86400
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def seconds(value: str | float) -> float:
    """A positive time: 30, 30s, 1.5m, 2h."""
    text = str(value)
    unit = _SECONDS.get(text[-1:])
    try:
        number = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        number = -1
    if not 0 < number <= _DAY:
        raise click.BadParameter(f"{text!r} is no time of up to 24 hours (30, 30s, 5m, 2h)")
    return number


def size(value: str | int) -> int:
    """A number of bytes: 4096, 64K, 512M, 2G."""
    text = str(value)
    factor = _BYTES.get(text[-1:].upper())
    digits = text[:-1] if factor else text
    if not digits.isascii() or not digits.isdigit():
        raise click.BadParameter(f"{text!r} is no size (4096, 64K, 512M, 2G)")
    return int(digits) * (factor or 1)


def band(value: str | Band) -> Band:
    """c512.c1023."""
    try:
        return value if isinstance(value, Band) else Band.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def listen(value: str | ListenerSettings) -> ListenerSettings:
    """ADDRESS[,KEY=VALUE...], see system/sockets.py."""
    if isinstance(value, ListenerSettings):
        return value
    try:
        return parse_listener(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def peer(value: str) -> str:
    """unix:PATH or tcp:HOST:PORT, as --listen has them; HOST:PORT will do."""
    address, comma, _ = (value if value.startswith(("unix:", "tcp:", "/")) else f"tcp:{value}").partition(",")
    if comma:
        raise click.BadParameter(f"{value!r} has more than an address: write {address}")
    return listen(address).address


def _show(value: float) -> str:
    """A size as it is written: 65536 -> 64K."""
    for unit, factor in reversed(_BYTES.items()):
        if value and value % factor == 0:
            return f"{value // factor:g}{unit}"
    return f"{value:g}"


def seconds_option(name: str, default: float, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=seconds, default=default, show_default=f"{default:g}s", help=text)


def count_option(name: str, default: int, text: str, show: str = "") -> Callable[[Command], Command]:
    span = click.IntRange(0 if show else 1)
    return click.option(name, type=span, default=default, show_default=show or True, metavar="N", help=text)


def size_option(name: str, default: int, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=size, default=default, show_default=_show(default), help=text)


def band_option(name: str, default: Band, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=band, default=default, show_default=str(default), metavar="cN.cM", help=text)
