"""Where a text is cut: wherever that is, what is left is whole, and how much is not is told."""

import ast
import json
import re
from collections.abc import Callable

import pytest

from selcgi.serve.escapes import cut, escaped

TEXTS = ("\U0001f600" * 9, "x\U0001f600" * 9, "\x1b\x7f" * 20, "\u20ac\xe9" * 9, "\\" * 40, "\"'\n\\u" * 15)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
@pytest.mark.parametrize(("write", "read"), [(json.dumps, json.loads), (ascii, ast.literal_eval)])
def test_between_two_characters(text: str, write: Callable[[str], str], read: Callable[[str], str]) -> None:
    written = write(text)
    assert cut(written, len(written)) == written
    for most in range(20, len(written)):
        left = cut(written, most)
        kept, _, rest = left.partition("...[")
        assert most - 14 < len(left) <= most  # a character has 12 at most, and the mark may be shorter than supposed
        assert text.startswith(read(kept + kept[0]))
        assert rest == f"{len(written) - len(kept)} more]"


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_what_is_escaped_is_printable(text: str) -> None:
    assert re.fullmatch("[ -~]+", escaped(text))
    assert escaped("as it is \\ 'a' \"b\"") == "as it is \\ 'a' \"b\""
