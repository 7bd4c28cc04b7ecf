"""Bugs to be planted into the fuzzed process, each of a kind that such code has had: a target must find its own.

Called by __main__.py before the first input.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

from flup.server import fcgi_base

from selcgi.mapping import index, modselinux, words
from selcgi.mapping.rules import Rule
from selcgi.system import audit
from selcgi.wire import connection, environ, records, response


def long_lengths_off_by_one() -> None:
    """Lengths of four bytes are read one too short."""
    decode = fcgi_base.decode_pair

    def decode_pair(data: bytes, at: int) -> tuple[int, tuple[bytes, bytes]]:
        after, (name, value) = decode(data, at)
        return (after - 1, (name, value[:-1])) if len(value) > 127 else (after, (name, value))

    fcgi_base.decode_pair = decode_pair


def body_after_its_end() -> None:
    connection._AFTER[connection.State.ENDED, int(records.Kind.STDIN), True] = connection.State.BODY


def httpoxy() -> None:
    environ._WITHHELD -= {b"HTTP_PROXY"}


def last_user_wins() -> None:
    """The second REMOTE_USER instead of a refusal."""
    environ._SINGLE -= {b"REMOTE_USER"}


def bare_cr_in_a_value() -> None:
    response._VALUE = re.compile(rb"[\t\r\x20-\x7e\x80-\xff]*")


def sendfile_in_small_letters_only() -> None:
    response._reads_files = lambda name: name.startswith(response._SENDFILE)


def names_before_globs() -> None:
    """A name's own rules are asked first, wherever they stand."""

    def considered(self: Any, user: str | None) -> Iterator[Rule]:
        named = () if user is None else self._named(user)
        return map(self._rule, itertools.chain(named, self._shared))

    index.Index.considered = considered  # type: ignore[method-assign]


def globs_match_a_beginning() -> None:
    words.Glob.matches = lambda self, value: words._compiled(self.text).match(value) is not None  # type: ignore[method-assign]


def names_stay_globs() -> None:
    setattr(modselinux, "write_name", lambda name: name)  # noqa: B010 - mypy: imported there, not exported


def lines_are_not_joined() -> None:
    modselinux._unfold = lambda text: (
        modselinux._Line(number, line.removesuffix("\r"), False) for number, line in enumerate(text.split("\n"), 1)
    )


def the_last_field_counts() -> None:
    """A field that stands there twice is taken from its last place."""

    def fields(text: str) -> dict[str, str]:
        return {name: audit._string(raw) if name in audit._STRINGS else raw for name, raw in audit._FIELD.findall(text)}

    audit._fields = fields


def contexts_of_any_character() -> None:
    audit._CONTEXT = re.compile(r"\S+:\S+:\S+")


PLANTS: dict[str, dict[str, Callable[[], None]]] = {
    target: {plant.__name__.replace("_", "-"): plant for plant in plants}
    for target, plants in {
        "audit": (the_last_field_counts, contexts_of_any_character),
        "connection": (long_lengths_off_by_one, body_after_its_end),
        "request": (httpoxy, last_user_wins),
        "response": (bare_cr_in_a_value, sendfile_in_small_letters_only),
        "mapping": (names_before_globs, globs_match_a_beginning),
        "modselinux": (names_stay_globs, lines_are_not_joined),
    }.items()
}
