"""What the system knows of the user of a request: groups, and what SELinux's login mapping has for him.

Decides nothing: it holds what was found out before the mapping is asked, and refuses to answer what could not be found
out, since a rule that says deny to a group must not be passed over. Found by system/lookup.py, asked by table.py and
logins.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from selcgi.errors import Denied, LookupFailed
from selcgi.mapping.words import show

_LONGEST = 256  # bytes of a name, as in REMOTE_USER
_FIX = "do the services of nsswitch.conf answer (getent passwd NAME), and may selcgi_t ask them (ausearch -m avc)?"
_DEFAULT = "__default__"  # seusers(5) calls everybody else so


@dataclass(frozen=True, slots=True)
class Known:
    """`groups` are some of those that the mapping names. With `failed` the login mapping is unknown, too."""

    groups: frozenset[str] = frozenset()
    undecided: frozenset[str] = frozenset()  # groups of which nobody can say whether he is in
    seuser: str = ""  # empty: no login mapping of his own
    level: str = ""  # the range that goes with it, may be empty
    failed: str = ""  # why the system could not be asked

    def is_in(self, group: str) -> bool:
        """LookupFailed, or Denied for a group that does not exist, where that is not known."""
        if group in self.undecided:
            self.check()
            reason = f"no --group-file has the group {show(group)}, and the system does not know it"
            raise Denied(reason, f"correct the rule for @{group}, or make the group: getent group {group}")
        return group in self.groups

    def check(self) -> None:
        """LookupFailed when the system could not be asked."""
        if self.failed:
            raise LookupFailed(self.failed, _FIX)


NOTHING = Known()  # of a request without a user, or where nothing is asked


def is_asked_for(user: str) -> bool:
    """Whether the system may be asked for the groups of such a name: a directory may have stranger ones than files."""
    return bool(user) and user.isprintable() and len(user.encode()) <= _LONGEST


def is_account_name(user: str) -> bool:
    """Whether the login mapping may be asked for such a name. It has no other one.

    ":" separates fields and "%" marks a group in the files that are searched; libselinux makes a path of the name.
    """
    return is_asked_for(user) and user != _DEFAULT and user[0] not in ".-" and set("/:%").isdisjoint(user)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a mapping needs to know of a user. `members`: of the groups that are in files, which hide others of their
    names."""

    groups: tuple[str, ...] = ()  # of the system
    login: bool = False
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def of_system(self) -> bool:
        return self.login or bool(self.groups)

    @property
    def nothing(self) -> bool:
        return not self.of_system and not self.members

    def in_files(self, user: str) -> frozenset[str]:
        return frozenset(name for name, users in self.members.items() if user in users)
