"""The text of an application's module, and the types of ports in it."""

import pytest

from selcgi.mapping.rules import parse
from selcgi.policy.application import Application, Place, labelled, module_text, read_only, roots, script_words
from selcgi.policy.ports import METRICS, REQUESTS, Port, find

PORTS = """\
ephemeral_port_t               tcp      32768-60999
hi_reserved_port_t             tcp      512-1023
ldap_port_t                    tcp      389, 636, 3268, 3269, 7389
ldap_port_t                    udp      389, 636
mysqld_port_t                  tcp      1186, 3306, 63132-63164
unreserved_port_t              tcp      61000-65535, 1024-32767
wide_port_t                    tcp      9000-9100
narrow_port_t                  tcp      9050
odd line
""".splitlines()


@pytest.mark.parametrize(
    ("number", "port"),
    [
        (389, Port(389, "ldap_port_t", "636, 3268, 3269, 7389")),
        (63140, Port(63140, "mysqld_port_t", "1186, 3306, 63132-63164")),
        (8321, Port(8321)),
        (600, Port(600)),
        (9050, Port(9050, "narrow_port_t", "")),
        (9051, Port(9051, "wide_port_t", "9000-9100")),
    ],
)
def test_the_type_of_a_port_is_the_narrowest_and_never_a_range_of_everybody(number: int, port: Port) -> None:
    assert find(number, PORTS) == port


WHOLE = Application(
    name="shop",
    scripts=(Place("/srv/shop/cgi/a.cgi", False), Place("/srv/more", True), Place("/srv/cgi/b", False)),
    writes=(Place("/srv/shop/orders", True),),
    reads=(Place("/srv/shop/read.d", True),),
    ports=(Port(389, "ldap_port_t"), Port(8321)),
    types=("ldap_port_t", "smtp_port_t"),
    switches=("database",),
)
TEXT = """\
(block shop
    (blockinherit selcgi_app)
    (call selcgi_webapp_database (webapp_t))
    (call selcgi_webapp_connects (webapp_t ldap_port_t))
    (call selcgi_webapp_connects (webapp_t smtp_port_t))
    (type port_t)
    (roletype object_r port_t)
    (typeattributeset port_type port_t)
    (call selcgi_webapp_connects (webapp_t port_t)))
(portcon tcp 8321 (system_u object_r shop.port_t ((s0) (s0))))
(filecon "/srv/shop/cgi" dir (system_u object_r shop.script_t ((s0) (s0))))
(filecon "/srv/shop/cgi/a\\.cgi" file (system_u object_r shop.script_t ((s0) (s0))))
(filecon "/srv/more(/.*)?" any (system_u object_r shop.script_t ((s0) (s0))))
(filecon "/srv/cgi/b" file (system_u object_r shop.script_t ((s0) (s0))))
(filecon "/srv/shop/read\\.d(/.*)?" any (system_u object_r shop.content_t ((s0) (s0))))
(filecon "/srv/shop/orders(/.*)?" any (system_u object_r shop.rw_t ((s0) (s0))))
"""


def test_a_module_with_everything() -> None:
    head, _, rest = module_text(WHOLE).partition("\n\n")
    assert all(line.startswith("; ") for line in head.splitlines())
    assert rest == TEXT


def test_the_least_is_the_template() -> None:
    assert module_text(Application("shop")).endswith("\n\n(block shop\n    (blockinherit selcgi_app))\n")


def test_a_warm_one_has_a_second_template() -> None:
    text = module_text(Application("shop", switches=("mail",), warm=True))
    head, last = "(block shop\n    (blockinherit selcgi_app)\n", "    (call selcgi_webapp_mail (webapp_t)))\n"
    assert text.endswith(f"\n\n{head}    (blockinherit selcgi_warm)\n{last}")


def test_what_the_unit_does_not_let_it_change() -> None:
    places = tuple(Place(one, True) for one in ("/srv/data/shop", "/srv/data2", "/srv/shop/orders"))
    assert read_only(Application("shop", writes=places)) == ["/srv/data2", "/srv/shop/orders"]


@pytest.mark.parametrize(
    ("place", "path", "other"),
    [
        (Place("/srv/shop/a.py", False), "/srv/shop/a.py", "/srv/shop/b.py"),
        (Place("/srv/shop", True), "/srv/shop/deep/b.py", "/srv/shop2/b.py"),
        (Place("/srv/a*[b]?", False), "/srv/a*[b]?", "/srv/axb?"),
        (Place("/srv/c#/d", True), "/srv/c#/d/e", "/srv/c/d/e"),
    ],
)
def test_the_rules_of_the_mapping_are_for_its_scripts_alone(place: Place, path: str, other: str) -> None:
    (word,) = script_words(Application("shop", scripts=(place,)))
    (rule,) = parse(f"alice shop.webapp_t {word} warm=yes\n", "site.map")
    assert rule.script is not None
    assert (rule.script.matches(path), rule.script.matches(other)) == (True, False)
    assert rule.options.warm == "yes"


def test_what_is_labelled_and_where_selcgi_begins() -> None:
    assert roots(WHOLE) == ["/srv/more", "/srv/shop/cgi"]
    inner = [Place("/srv/a/b", True), Place("/srv/a/c", False), Place("/var/www/cgi-bin/x", False)]
    assert roots(Application("shop", scripts=(*inner, Place("/srv/cgi/d", True)))) == ["/srv/a", "/var/www/cgi-bin"]
    assert labelled(WHOLE) == [
        *("/srv/shop/cgi", "/srv/shop/cgi/a.cgi", "/srv/more", "/srv/cgi/b"),
        *("/srv/shop/read.d", "/srv/shop/orders"),
    ]


def test_what_selcgi_needs_to_listen_on_a_port() -> None:
    assert METRICS.cure(9141) == "setsebool -P selcgi_serve_metrics on"
    label = "semanage port -a -t selcgi_port_t -p tcp 9142"
    assert REQUESTS.cure(9142) == f"setsebool -P selcgi_from_tcp on, and {label}"
    assert REQUESTS.cure(80) == "choose a port of 1024 or more"
