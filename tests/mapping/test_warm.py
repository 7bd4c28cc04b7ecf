"""What warm= of a rule may say; tests/data/mappings/invalid has what it may not."""

import pytest

from selcgi.mapping.options import Options
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
