"""Invariant: a map of mod_selinux, respelled, has no mistakes, and gives nobody a context that was not his before.

Whom mod_selinux gave a context gets that one or is denied; whom it gave none gets none. A map that can't be respelled
is a MappingError with file:line. Input: a line with a user, and the map.
"""

import re

from selcgi.errors import Denied, MappingError
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.modselinux import respell
from selcgi.mapping.table import Query, Table
from selcgi.mapping.words import ANONYMOUS

OLD, NEW = "/etc/httpd/old.map", "/etc/selcgi/new.map"
_USERS = 8
_PLAIN = re.compile(r"[a-z_]+_t(:(\*|s0(:c[0-9](,c[0-9])*)?))?").fullmatch


def check(data: bytes) -> None:
    asked, _, body = data.partition(b"\n")
    text, user = body.decode("utf-8", "replace"), asked.decode("utf-8", "replace")
    try:
        pairs = respell(text, OLD)
    except MappingError as error:
        assert str(error).isprintable(), error
        assert 1 <= error.line <= text.count("\n") + 1
        return
    mapping = Chain([Table([Index("\n".join(line for line, _ in pairs).encode(), NEW)])])
    assert all(note.isprintable() for _, note in pairs)
    old = _pairs(text)
    for one in {user, *(name for name, _ in old[:_USERS])} - {"*", ANONYMOUS, "-", ""}:
        _compare(old, mapping, one)
    _compare(old, mapping, None)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Lines of two words, as mod_selinux reads them: lines are joined, then comments cut off."""
    pairs = []
    for line in re.sub(r"\\\r?\n", "", text).split("\n"):
        words = re.findall(r"[^ \t\r]+", line.strip(" \t\r\v\f").partition("#")[0])
        if len(words) == 2:
            pairs.append((words[0], words[1]))
    return pairs


def _compare(old: list[tuple[str, str]], new: Chain, user: str | None) -> None:
    value = next((value for name, value in old if name in ("*", user or ANONYMOUS)), None)
    got = _decide(new, user)
    if value is None:
        assert got is None, f"{user} had no context, and gets {got}"
        return
    domain, _, range_ = value.partition(":")
    right = f"{domain}:{range_ or '*'}"
    assert got in ("deny", right), f"{user} had {value}, and gets {got}"
    assert got == right or not _PLAIN(value), f"{user} had {value}, and is denied"


def _decide(mapping: Chain, user: str | None) -> str | None:
    try:
        return str(mapping.decide(Query(user, "/srv/cgi/x", "www.example.org")).spec)
    except Denied as denied:
        return None if denied.rule == "-" else "deny"
