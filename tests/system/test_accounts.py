"""Accounts of this machine's own user database: `daemon` and `nobody` exist on every Linux."""

import os
import pwd

import pytest

from selcgi.errors import LaunchFailed
from selcgi.system.accounts import account, own_account


def test_an_account_has_the_numbers_groups_and_home_of_the_database() -> None:
    entry = pwd.getpwnam("daemon")
    found = account("daemon")
    assert (found.name, found.uid, found.gid, found.home) == ("daemon", entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert set(found.groups) == set(os.getgrouplist("daemon", entry.pw_gid))


@pytest.mark.parametrize("name", ["no-such-user", "", "nul\0"])
def test_an_unknown_user_is_named(name: str) -> None:
    with pytest.raises(LaunchFailed, match="there is no user") as caught:
        account(name)
    assert caught.value.step == "account"


def test_root_is_no_account_for_a_script() -> None:
    with pytest.raises(LaunchFailed, match="uid 0, and no script runs as root"):
        account("root")


@pytest.mark.parametrize(("gid", "groups"), [(0, [0]), (7, [7, 0])])
def test_group_0_is_refused_as_any_of_the_groups(monkeypatch: pytest.MonkeyPatch, gid: int, groups: list[int]) -> None:
    entry = pwd.struct_passwd(("operator", "x", 11, gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"operator": entry}.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, _gid: groups)
    with pytest.raises(LaunchFailed, match="in group 0"):
        account("operator")


def test_selcgis_own_account_is_the_effective_one() -> None:
    os.seteuid(pwd.getpwnam("daemon").pw_uid)
    try:
        assert own_account().name == "daemon"
    finally:
        os.seteuid(0)


def test_a_uid_without_an_entry_is_at_home_in_the_root_folder() -> None:
    os.seteuid(987654321)
    try:
        found = own_account()
    finally:
        os.seteuid(0)
    assert (found.name, found.uid, found.home) == ("987654321", 987654321, "/")
