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
