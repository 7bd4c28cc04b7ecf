"""What a line of the log may hold: printable ASCII, LINE_BYTES of it at most, and no field that looks like two.

Decides how a text of others is written there and how it is cut: a value for itself, so that the fields behind it stay,
between two characters as they are written, with how many more there were. Pure. Used by serve/log.py and by those that
write its lines.
"""

import json
import re
import select
from collections.abc import Callable, Mapping
from typing import Any

LINE_BYTES = select.PIPE_BUF - 2  # with its end, and the end of one that the disk took a part of, it is written whole
_LENGTHS = (3072, 2048, 1024, 512, 256, 128)  # of each value, tried in turn; with the last one any line fits
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_is_plain = re.compile(r"[A-Za-z0-9_./:@%+,*~()-]*").fullmatch
# A character as ascii() or JSON writes it, where those beyond 16 bits are two escapes.
_written_characters = re.compile(r"\\(?:x..|u[dD][89abAB]..\\u....|u....|U.{8}|.)|.", re.DOTALL).finditer


def escaped(text: str) -> str:
    """What no terminal acts on and no reader of lines takes for two."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_CONTROLS).encode("ascii", "backslashreplace").decode()


def words(fields: Mapping[str, object]) -> str:
    """name=value, for each; an empty value is "-"."""
    return " ".join(f"{name}={word(value)}" for name, value in fields.items())


def word(value: object) -> str:
    """In quotes where it could be taken for another field, or for none."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return number(value)
    text = str(value) if not isinstance(value, tuple) else "; ".join(value)
    return text if _is_plain(text) and text != "-" else json.dumps(text)


def are_plain(*texts: str) -> bool:
    """None of them needs quotes."""
    return "-" not in texts and _is_plain("".join(texts)) is not None


def number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def cut(written: str, most: int) -> str:
    """At most `most` characters of what has been escaped, the mark among them, if there is room for the mark."""
    if len(written) <= most:
        return written
    room, end = most - len(_mark(len(written))), 0
    for one in _written_characters(written):
        if one.end() > room:
            break
        end = one.end()
    return written[:end] + _mark(len(written) - end)


def _mark(left_out: int) -> str:
    return f"...[{left_out} more]"


def fitting(fields: Mapping[str, Any], write: Callable[[Mapping[str, Any]], str]) -> str:
    """What `write` makes of the fields, the long ones cut until it is a line."""
    for most in _LENGTHS:
        text = write({name: _shortened(value, most) for name, value in fields.items()})
        if len(text) <= LINE_BYTES:
            break
    return text


def _shortened(value: Any, most: int) -> Any:
    """A text, or each of some, is not longer than `most` in JSON."""
    if isinstance(value, str):
        written = json.dumps(value)[1:-1]
        return value if len(written) <= most else json.loads(f'"{cut(written, most)}"')
    if isinstance(value, tuple):
        return tuple(_shortened(one, most) for one in value)
    return value
