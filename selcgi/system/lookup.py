"""One question to the system about a user: Unix groups, and SELinux's login mapping.

Decides what counts as an answer. The default of the login mapping is none, nor is libselinux's fallback, which makes
an SELinux user of the name itself. May block for as long as a directory takes: called by serve/resolver.py in a
process of its own, and by cli/ for a single request.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import ModuleType

from selcgi.errors import LookupFailed, SelcgiError
from selcgi.mapping.known import Known, is_account_name, is_asked_for
from selcgi.system.binding import find_binding
from selcgi.system.nss import group_gid, memberships

_DEFAULT = "__default__"
_SEUSERS_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Question:
    """`groups` are those to be looked for; `login`: whether the login mapping is wanted."""

    user: str
    groups: tuple[str, ...] = ()
    login: bool = False

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, raw: bytes) -> "Question":
        fields = json.loads(raw)
        return cls(fields["user"], tuple(fields["groups"]), fields["login"])


def look_up(question: Question) -> Known:
    """All of it, or why there is no answer. Raises nothing.

    Who chooses his own name chooses none that is in no group because nobody was asked: a rule may deny a group.
    """
    user, groups = question.user, question.groups
    if not is_asked_for(user):
        return Known(undecided=frozenset(groups), failed=f"the system can't be asked who {user[:80]!a} is")
    try:
        inside, missing = memberships(user, groups) if groups else (frozenset(), frozenset())
        seuser, level = login_of(find_binding(), user) if question.login and is_account_name(user) else ("", "")
    except SelcgiError as error:
        return Known(undecided=frozenset(question.groups), failed=error.reason)
    return Known(inside, missing, seuser, level)


def encode(known: Known) -> bytes:
    """For the way between two processes."""
    lists = {"groups": sorted(known.groups), "undecided": sorted(known.undecided)}
    return json.dumps({**asdict(known), **lists}).encode()


def decode(raw: bytes) -> Known:
    """ValueError when it is not whole."""
    fields = json.loads(raw)
    lists = {name: frozenset(fields[name]) for name in ("groups", "undecided")}
    return Known(**{**fields, **lists})


def login_of(binding: ModuleType, user: str) -> tuple[str, str]:
    """SELinux user and range of getseuserbyname(3); empty for one who has the default. LookupFailed."""
    try:
        seuser, level = _seuser(binding, user)
        default = _seuser(binding, _DEFAULT)
        groups = tuple(_groups(binding.selinux_usersconf_path()))
    except OSError as error:
        reason = f"SELinux's login mapping can't be read: {error.strerror}"
        raise LookupFailed(reason) from None
    if (seuser, level) not in (default, (user, "")):
        return seuser, level
    for name in groups:  # a group that can't be asked for is passed over by libselinux
        group_gid(name)
    return "", ""


def _seuser(binding: ModuleType, name: str) -> tuple[str, str]:
    _, seuser, level = binding.getseuserbyname(name)
    return seuser, level or ""


def _groups(path: str) -> Iterator[str]:
    """Those that seusers(5) has lines for: %group:seuser:range."""
    # With a buffer of a size that is given, open() does not ask for a terminal's, which the policy would refuse.
    with open(path, "rb", buffering=1 << 16) as file:
        for line in file.read(_SEUSERS_BYTES).split(b"\n"):
            name, colon, _ = line.strip().partition(b":")
            if colon and name.startswith(b"%"):
                yield os.fsdecode(name[1:])
