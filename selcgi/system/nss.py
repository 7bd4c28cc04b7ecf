"""Who is in which Unix group, by the system's own databases (nsswitch.conf(5)): files, SSSD, LDAP.

Decides between yes, no and nobody can say: getgrouplist(3) leaves out the groups of a service that does not answer, and
Python's pwd and grp call that "not found", so the functions are called that give an error of its own for it. Asks by
name, never for a list of all, which SSSD does not give. May block for long: never called in a worker. Called by
lookup.py.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Collection
from typing import Any

from selcgi.errors import LookupFailed

_FIRST_BYTES, _MOST_BYTES = 1 << 14, 1 << 24  # of an entry: a group may have very many members
_NO_GROUP = (1 << 32) - 2  # a gid that nobody has; (gid_t) -1 has a meaning of its own


class _Passwd(ctypes.Structure):
    """struct passwd, up to the field that is read: getpwnam(3)."""

    _fields_ = [("name", ctypes.c_char_p), ("passwd", ctypes.c_char_p), ("uid", ctypes.c_uint), ("gid", ctypes.c_uint),
                ("rest", ctypes.c_void_p * 3)]  # fmt: skip


class _Group(ctypes.Structure):
    """struct group, up to the field that is read: getgrnam(3)."""

    _fields_ = [("name", ctypes.c_char_p), ("passwd", ctypes.c_char_p), ("gid", ctypes.c_uint),
                ("rest", ctypes.c_void_p)]  # fmt: skip


_libc = ctypes.CDLL(None)


def memberships(user: str, groups: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Of `groups` those that the user is in, and those that do not exist. LookupFailed when a service does not answer.

    A user without an account is in the groups that list the name.
    """
    own = _gid(_libc.getpwnam_r, _Passwd(), user)
    gids = set(os.getgrouplist(user, _NO_GROUP if own is None else own)) - {_NO_GROUP}
    found = {name: group_gid(name) for name in groups}
    inside = frozenset(name for name, gid in found.items() if gid in gids)
    return inside, frozenset(name for name, gid in found.items() if gid is None)


def group_gid(name: str) -> int | None:
    """The number of a group, None when there is none of that name. LookupFailed when a service does not answer."""
    return _gid(_libc.getgrnam_r, _Group(), name)


def _gid(function: Callable[..., int], entry: Any, name: str) -> int | None:
    size = _FIRST_BYTES
    while True:
        buffer, result = ctypes.create_string_buffer(size), ctypes.c_void_p()
        code = function(os.fsencode(name), ctypes.byref(entry), buffer, ctypes.c_size_t(size), ctypes.byref(result))
        if code == 0:
            return int(entry.gid) if result.value is not None else None
        if code == errno.EINTR:
            continue
        if code != errno.ERANGE or size >= _MOST_BYTES:
            raise LookupFailed(f"the system can't say who {name!a} is: {os.strerror(code)}")
        size *= 4
