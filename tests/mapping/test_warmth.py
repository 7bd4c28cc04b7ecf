"""Which scripts run warm: by the word of their rule, else by --warm."""

from dataclasses import replace

import pytest

from selcgi.context import ContextSpec
from selcgi.mapping.table import Verdict
from selcgi.mapping.warmth import warmth
from selcgi.plan import Warm
from selcgi.settings import WarmSettings

GLOBS = WarmSettings(scripts=("/srv/cgi/*.py", "/srv/shop/[a-m]*"))


def verdict(warm: str) -> Verdict:
    return Verdict("site.map:1", ContextSpec("user_webapp_t"), sendfile=False, account="", warm=warm)


@pytest.mark.parametrize(
    ("warm", "script", "meant"),
    [
        ("", "/srv/cgi/report.sh", None),
        ("", "/srv/cgi/report.py", Warm()),
        ("", "/srv/shop/cart", Warm()),
        ("", "/srv/shop/wares", None),
        ("no", "/srv/cgi/report.py", None),
        ("yes", "/srv/cgi/report.sh", Warm()),
        ("wsgi:app", "/srv/cgi/report.py", Warm("app")),
        ("wsgi:shop.web:app", "/srv/shop/wares", Warm("shop.web:app")),
    ],
)
def test_rule_goes_before_the_globs(warm: str, script: str, meant: Warm | None) -> None:
    assert warmth(verdict(warm), script, GLOBS) == meant


@pytest.mark.parametrize(("warm", "meant"), [("", True), ("yes", True), ("wsgi:app", False)])
def test_a_wsgi_application_can_not_be_started_fresh(warm: str, meant: bool) -> None:
    found = warmth(verdict(warm), "/srv/cgi/report.py", replace(GLOBS, fallback=True))
    assert found is not None
    assert found.fallback is meant


def test_nothing_is_warm_unless_it_is_said() -> None:
    assert warmth(verdict(""), "/srv/cgi/report.py", WarmSettings()) is None
