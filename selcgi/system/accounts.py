"""Unix accounts: the one a script shall run as, and selcgi's own.

Decides that no script ever gets uid 0 or group 0, not even as one group of many. Must not change any identity: that
is launch/'s part. Called by serve/site.py at start for --script-user and by serve/request.py for a rule with uid=; by
diagnose/ and `selcgi map check` for the rules of a mapping, before there is a request.
"""

import os
import pwd
from collections.abc import Iterable, Iterator
from itertools import islice

from selcgi.errors import LaunchFailed, SelcgiError
from selcgi.plan import Account

ACCOUNTS_MOST = 256  # that are looked up ahead of requests: a directory is asked for each
_STEP = "account"


def account(name: str) -> Account:
    """The account called `name`, with every group of getgrouplist(3). LaunchFailed when unknown, or root in any way."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise LaunchFailed(_STEP, f"there is no user {name!r} here", f"getent passwd {name!r} must find it") from None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    if entry.pw_uid == 0:
        raise LaunchFailed(_STEP, f"the user {name!r} has uid 0, and no script runs as root", "name another user")
    if entry.pw_gid == 0 or 0 in groups:
        raise LaunchFailed(_STEP, f"the user {name!r} is in group 0, root's", "take the user out of it")
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def unusable(named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, SelcgiError]]:
    """Of the first ACCOUNTS_MOST names, each with its place: the places of those that no script can run as, and why."""
    for name, where in islice(named, ACCOUNTS_MOST):
        try:
            account(name)
        except LaunchFailed as error:
            yield where, error


def own_account() -> Account:
    """selcgi's own, for the log and for HOME; a uid without an entry (a container's) is at home in "/"."""
    uid, gid, groups = os.geteuid(), os.getegid(), tuple(os.getgroups())
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, gid, groups, "/")
    return Account(entry.pw_name, uid, gid, groups, entry.pw_dir)
