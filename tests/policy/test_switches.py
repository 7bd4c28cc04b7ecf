"""The table of switches is what the shipped policy has, and what it proposes opens no more than must be."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from selcgi.policy.ports import METRICS, REQUESTS
from selcgi.policy.switches import BY_BOOLEAN, SHIPPED, SWITCHES, WARM, Switch, switch, warm_cure
from tests.cil import parse

SOURCE = Path(__file__).resolve().parent.parent.parent / "contrib" / "selinux" / "webapp.cil"
STATEMENTS = [one for one in parse(SOURCE.read_text()) if isinstance(one, list)]
MACROS = {one[1]: one for one in STATEMENTS if one[0] == "macro"}
Opened = dict[tuple[str, str], set[str]]


def opened(name: str, given: Iterable[str], found: Opened) -> Opened:
    """All that a macro allows its first parameter."""
    _, _, parameters, *body = MACROS[name]
    names = {kind[1]: word for kind, word in zip(parameters, given, strict=True)}
    for one in inner(body):
        if one[0] == "call":
            opened(one[1], [names.get(word, word) for word in one[2]], found)
        elif one[0] == "allow":
            assert names[one[1]] == "d"
            found.setdefault((names.get(one[2], one[2]), one[3][0]), set()).update(one[3][1])
    return found


def inner(body: Iterable[Any]) -> Iterator[Any]:
    for one in body:
        if one[0] == "optional":
            yield from inner(one[2:])
        else:
            yield one


@pytest.mark.parametrize("one", SWITCHES, ids=lambda one: one.macro)
def test_the_table_is_what_the_macro_opens(one: Switch) -> None:
    assert {key: set(text.split()) for key, text in one.opens.items()} == opened(one.macro, ["d"], {})


def test_the_booleans_are_there() -> None:
    booleans = {one[1] for one in STATEMENTS if one[0] == "boolean"}
    assert booleans == {one.boolean for one in SWITCHES} | {WARM}


def test_the_ports_of_its_own_are_as_in_the_policy() -> None:
    said = (SOURCE.parent / "selcgi.cil").read_text()
    for one in (REQUESTS, METRICS):
        assert f"(portcon tcp {one.number} (system_u object_r {one.type} " in said
        assert f"(booleanif {one.boolean} (true (call selcgi_listens_on ({one.type}))))" in said


def test_the_booleans_are_for_the_shipped_domains() -> None:
    (domains,) = [one[2] for one in STATEMENTS if one[:2] == ["typeattributeset", BY_BOOLEAN]]
    assert set(domains) == SHIPPED


CONNECTS = "(call selcgi_webapp_connects ({} ldap_port_t))"


@pytest.mark.parametrize(
    ("domain", "target", "classname", "permissions", "text"),
    [
        ("user_webapp_t", "smtp_port_t", "tcp_socket", "name_connect", "setsebool -P selcgi_webapp_send_mail on"),
        ("shop.webapp_t", "smtp_port_t", "tcp_socket", "name_connect", "(call selcgi_webapp_mail (shop.webapp_t))"),
        ("user_webapp_t", "user_home_t", "file", "read open", "setsebool -P selcgi_webapp_read_home on"),
        ("user_webapp_t", "user_home_t", "file", "read write", ""),
        ("anon_webapp_t", "self", "udp_socket", "create", "setsebool -P selcgi_webapp_connect_network on"),
        ("other_t", "smtp_port_t", "tcp_socket", "name_connect", ""),
        ("user_webapp_t", "selcgi_metrics_port_t", "tcp_socket", "name_connect", ""),
        ("shop.webapp_t", "ldap_port_t", "tcp_socket", "name_connect", CONNECTS.format("shop.webapp_t")),
        (
            "user_webapp_t",
            "ldap_port_t",
            "tcp_socket",
            "name_connect",
            f"{CONNECTS.format('user_webapp_t')}; or: setsebool -P selcgi_webapp_connect_network on",
        ),
    ],
)
def test_what_is_proposed(domain: str, target: str, classname: str, permissions: str, text: str) -> None:
    assert switch(domain, target, classname, permissions.split()) == text


def test_whatever_looks_a_host_up_may_be_meant() -> None:
    ways = switch("user_webapp_t", "net_conf_t", "file", ["read", "open"]).split("; or: ")
    assert [one.split()[2] for one in ways] == [
        "selcgi_webapp_send_mail",
        "selcgi_webapp_connect_db",
        "selcgi_webapp_connect_network",
    ]


def test_a_domain_of_ones_own_may_have_the_booleans() -> None:
    assert switch("a_t", "smtp_port_t", "tcp_socket", ["name_connect"], by_boolean=True).startswith("setsebool -P ")


@pytest.mark.parametrize(
    ("zygote", "text"),
    [
        ("staff_zygote_t", "setsebool -P selcgi_webapp_warm on"),
        ("shop.zygote_t", "(blockinherit selcgi_warm) in the block shop"),
        ("shop_zygote_t", "(call selcgi_zygote_enters (shop_zygote_t shop_webapp_t))"),
    ],
)
def test_what_starts_a_warm_interpreter(zygote: str, text: str) -> None:
    assert warm_cure(zygote) == text
