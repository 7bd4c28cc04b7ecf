"""The spelling of a mapping file: words, quotes, globs.

Decides where a word ends, what a quote protects and what a glob matches. Knows nothing of rules, users or contexts.
Called by the rest of mapping/; a mistake is raised as Mistake and gets its place by whoever knows file and line.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

ANONYMOUS = "__anonymous__"
GLOB_CHARACTERS = frozenset("*?[")
SHOWN = 200  # characters of a foreign text in a sentence for the log

_UNPLAIN = GLOB_CHARACTERS | frozenset(' \t"#')
_WORD = re.compile(r'((?:[^ \t"#=]+=|@)?"(?:[^"\\]|\\["\\])*"|[^ \t"#]+)(?=[ \t#]|$)')
_BLANKS = re.compile(r"[ \t]*")
_PART = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|\[.*|[^*?\[]+")
_CLASS_ITEM = re.compile(r"(.)-(.)|(.)", re.DOTALL)


class Mistake(ValueError):
    """What is wrong with a line and how to put it right, before its file and line are known."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def show(text: str) -> str:
    """`text` in double quotes for a sentence: one line, printable, at most SHOWN characters of it."""
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    return f'"{shown}"' if shown.isprintable() else f'"{shown.encode("unicode_escape").decode("ascii")}"'


def split_words(line: str) -> list[str]:
    """The words of a printable line, quotes left on, without its comment. Mistake when a quote is out of place."""
    if '"' not in line:
        return line.partition("#")[0].split()
    words = []
    at = _end_of_blanks(line, 0)
    while at < len(line) and line[at] != "#":
        found = _WORD.match(line, at)
        if found is None:
            raise Mistake(
                f"a quote from column {at + 1} on is not closed, or not at the ends of a word",
                r'write "name" or key="value"; in quotes \" and \\ are the only escapes',
            )
        words.append(found[1])
        at = _end_of_blanks(line, found.end())
    return words


def _end_of_blanks(line: str, at: int) -> int:
    found = _BLANKS.match(line, at)
    return found.end() if found else at


def unquote(word: str) -> str:
    """The text that a word of split_words stands for: the inner of a quoted one, any other as it is."""
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def write_name(name: str) -> str:
    """The user name `name`, printable and not empty, as a mapping file spells it: quoted only where it must be."""
    plain = name != ANONYMOUS and name[0] != "@" and _UNPLAIN.isdisjoint(name)
    return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Glob:
    """`*` any characters, none and "/" included, `?` one, `[a-z]` one of, `[!a-z]` one not of; the whole text matches.

    Case matters. Nothing is an escape: `[*]` stands for a star. Made by read_glob.
    """

    text: str

    def matches(self, value: str) -> bool:
        return _compiled(self.text).fullmatch(value) is not None


def read_glob(text: str) -> Glob:
    """Check `text` without compiling it: a file may hold a million globs. Mistake for a class that is malformed."""
    if "[" in text:
        for part in _PART.findall(text):
            if part[0] == "[":
                _character_class(part)
    return Glob(text)


@lru_cache(maxsize=16384)  # more than the globs that one request can meet: table.py, CONSIDERED
def _compiled(text: str) -> re.Pattern[str]:
    """Atomic groups keep the time within length times stars: a user name is the client's to choose."""
    pieces = [""]
    for part in _PART.findall(text):
        if part[0] == "*":
            pieces.append("")
        else:
            pieces[-1] += _regex_of(part)
    head, *rest = pieces
    if rest:
        *middle, tail = rest
        head += "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + tail
    return re.compile(head, re.DOTALL)


def _regex_of(part: str) -> str:
    if part == "?":
        return "."
    return _character_class(part) if part[0] == "[" else re.escape(part)


def _character_class(part: str) -> str:
    """The regex of a `[..]`; a "]" that comes first is a member, and so is a "-" that comes first or last."""
    negated = part.startswith("[!")
    if len(part) < 3 + negated or part[-1] != "]" or part[1] == "^":
        raise Mistake(
            f"{show(part)} is no class of characters", 'write [abc], [a-z] or [!a-z], or the name in "quotes"'
        )
    members = []
    for first, last, single in _CLASS_ITEM.findall(part[1 + negated : -1]):
        if first > last:
            raise Mistake(f"{show(part)} has a range that runs backwards", f"write {last}-{first}")
        members.append(re.escape(single) or f"{re.escape(first)}-{re.escape(last)}")
    return f"[{'^' if negated else ''}{''.join(members)}]"
