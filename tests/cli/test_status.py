"""`selcgi status`: how warm interpreters are shown."""

from typing import Any

import click

from selcgi.cli.status import show

QUIET: dict[str, Any] = {
    "version": "1", "selinux": "enforcing", "workers": [], "requests": [], "running": 0, "waiting": 0, "answers": {},
    "limits": {}, "denials": {"listener": 0}, "users": {}, "reload": None, "zygotes": [],
    "warm": {"zygote_starts": 0, "zygote_failures": 0, "warm_requests": 0, "warm_retries": 0, "warm_fallbacks": 0},
}  # fmt: skip
ROW = {
    "script": "/srv/cgi/shop.py", "application": "", "domain": "shop_zygote_t", "account": "", "worker": 40, "pid": 41,
    "state": "ready", "seconds": 90.4, "requests": 12, "memory": 13 << 20, "why": "",
}  # fmt: skip


def test_nothing_of_warm_interpreters_where_there_are_none() -> None:
    assert "zygote" not in show(QUIET)
    assert "warm" not in show(QUIET)


def test_a_row_for_each_without_empty_columns() -> None:
    ended = {**ROW, "pid": 39, "state": "ended", "memory": None, "why": "it was idle"}
    foreign = {**ROW, "pid": 42, "memory": None}
    warm = {**QUIET["warm"], "warm_requests": 36}
    text = click.unstyle(show({**QUIET, "zygotes": [ROW, foreign, ended], "warm": warm}))
    head, first, second, third = text.split("\n\n")[1].splitlines()
    assert head.split() == ["script", "domain", "worker", "pid", "state", "seconds", "requests", "memory", "why"]
    assert first.split() == ["/srv/cgi/shop.py", "shop_zygote_t", "40", "41", "ready", "90", "12", "13.0M", "-"]
    assert second.split()[7] == "?"
    assert third.split()[4:] == ["ended", "90", "12", "-", "it", "was", "idle"]
    assert "warm: requests x 36" in text


def test_an_account_and_an_application_where_there_are_some() -> None:
    text = show({**QUIET, "zygotes": [{**ROW, "account": "shop", "application": "shop.web:app"}]})
    assert "/srv/cgi/shop.py  shop.web:app  shop_zygote_t  shop " in text


def test_users_who_are_called_like_nobody_or_like_the_others_are_told_apart() -> None:
    row = {"answers": 1, "failed": 0}
    users = dict.fromkeys(("alice", "", "(nobody)", "(others)", "-", '"-"', "a-(b)"), row)
    text = click.unstyle(show({**QUIET, "users": users, "others": row}))
    shown = [line.split()[0] for line in text.splitlines()[3:11]]
    assert shown == ["alice", "(nobody)", '"(nobody)"', '"(others)"', '"-"', '"\\"-\\""', "a-(b)", "(others)"]


def test_a_request_of_nobody_is_not_that_of_a_user_called_so() -> None:
    of = {"seconds": 1, "state": "runs", "context": "c", "script": "/x", "worker": 7, "id": "abc"}
    text = click.unstyle(show({**QUIET, "requests": [{**of, "user": ""}, {**of, "user": "-"}]}))
    assert [line.split()[2] for line in text.splitlines()[3:5]] == ["-", '"-"']
