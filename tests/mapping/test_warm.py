"""What warm= of a rule may say; tests/data/mappings/invalid has what it may not."""

import pytest

from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.logins import LoginSource
from selcgi.mapping.options import Options
from selcgi.mapping.table import Table
from selcgi.mapping.told import ParamSource
from tests.mapping.test_rules import only


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("wsgi", "wsgi:application"),
        ("wsgi:app", "wsgi:app"),
        ("wsgi:shop.web.wsgi:application", "wsgi:shop.web.wsgi:application"),
    ],
)
def test_warm(written: str, meant: str) -> None:
    assert only(f"alice user_webapp_t uid=reports memory=64M warm={written}").options.warm == meant


def test_domain_of_any_name_when_nothing_is_warm() -> None:
    assert only("alice shop_t warm=no").options == Options(warm="no")


def test_domains_that_need_zygotes() -> None:
    """Each once, with the first rule that asks for it: preflight asks the policy about these alone."""
    file = """\
alice shop_webapp_t:s0:c1
bob shop_webapp_t:s0:c2 warm=no
carol shop_webapp_t:s0:c3 warm=yes
* shop_webapp_t:s0:c4 warm=wsgi
dave staff_u:staff_r:shop_webapp_t:s0 warm=wsgi:shop:app
erin user_webapp_t
"""
    logins = "user_u wiki_webapp_t:login-range warm=yes\nstaff_u user_webapp_t\n"
    sources = (Table([Index(file.encode(), "site.map")]), ParamSource("P", ["user_webapp_t"]), LoginSource(logins, "t"))
    assert [(str(spec), where) for spec, where in Chain(sources).warmed()] == [
        ("shop_webapp_t:s0:c3", "site.map:3"),
        ("staff_u:staff_r:shop_webapp_t:s0", "site.map:5"),
        ("wiki_webapp_t:*", "login:t:1"),
    ]
