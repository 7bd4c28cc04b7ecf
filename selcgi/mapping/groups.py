"""Groups in files, as Apache's AuthGroupFile has them: `name: user user`.

Decides what a line means, and refuses what Apache would read in another way. Lines for one name add up, in one file or
several. Must not read files. Called by serve/sources.py.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from selcgi.errors import MappingError
from selcgi.mapping.words import Mistake, show, unquote

_MEMBERS = re.compile(r'[ \t]*(?:("(?:[^"\\]|\\["\\])*"|[^ \t"\'\\]+)(?=[ \t]|$))?')
_FIX = 'write name: user "another user"; a user with a quote or a backslash in its name is quoted'


class GroupFile:
    """`members` of each group in it that `wanted` names."""

    def __init__(self, text: str, file: str, wanted: Collection[str]) -> None:
        """MappingError for the first mistake, be it in a group that nobody wants."""
        members: dict[str, set[str]] = {}
        for name, users in _lines(text, file):
            if name in wanted:
                members.setdefault(name, set()).update(users)
        self.members: Mapping[str, frozenset[str]] = {name: frozenset(users) for name, users in members.items()}


def _lines(text: str, file: str) -> Iterator[tuple[str, list[str]]]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r").strip(" \t")
        if not line or line[0] == "#":
            continue
        try:
            yield _read(line)
        except Mistake as mistake:
            raise MappingError(file, number, mistake.reason, mistake.fix) from None


def _read(line: str) -> tuple[str, list[str]]:
    if line.endswith("\\"):
        raise Mistake("the line ends in a backslash and lines are not joined", "repeat the name: lines of one add up")
    if not line.replace("\t", " ").isprintable():
        raise Mistake("the line has a character that is not printable", "remove it")
    name, colon, rest = line.partition(":")
    name = name.rstrip(" \t")
    if not colon or not name or '"' in name:
        raise Mistake(f"{show(line)} is no group", _FIX)
    return name, _members(rest)


def _members(text: str) -> list[str]:
    users: list[str] = []
    at = 0
    while at < len(text):
        found = _MEMBERS.match(text, at)
        if found is None or found.end() == at or (found[1] is None and found.end() < len(text)):
            raise Mistake(f"{show(text[at:].strip())} is no list of users", _FIX)
        if found[1] is not None:
            users.append(unquote(found[1]))
        at = found.end()
    return users
