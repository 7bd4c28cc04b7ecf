"""SELinux's login mapping as a source: whom it answers for, and each mistake in its table."""

import re

import pytest

from selcgi.errors import Denied, LookupFailed, MappingError
from selcgi.mapping.known import Known
from selcgi.mapping.logins import LoginSource
from selcgi.mapping.table import Query

TABLE = """# SELinux user, context
user_u   user_webapp_t:s0:c1
staff_u  staff_webapp_t:login-range   timeout=5s
guest_u  deny
sysadm_u staff_webapp_t
"""


def source(text: str = TABLE) -> LoginSource:
    return LoginSource(text, "/etc/selcgi/webapps.table")


def query(seuser: str = "", level: str = "", failed: str = "", user: str | None = "alice") -> Query:
    return Query(user, "/x", "h", (), Known(seuser=seuser, level=level, failed=failed))


@pytest.mark.parametrize(
    ("seuser", "level", "line", "spec"),
    [
        ("user_u", "s0:c9", 2, "user_webapp_t:s0:c1"),
        ("staff_u", "s0:c9", 3, "staff_webapp_t:s0:c9"),
        ("staff_u", "s0", 3, "staff_webapp_t:s0"),
        ("sysadm_u", "s0:c9", 5, "staff_webapp_t:*"),
    ],
)
def test_the_context_of_an_selinux_user(seuser: str, level: str, line: int, spec: str) -> None:
    verdict = source().answer(query(seuser, level))
    assert verdict is not None
    assert (verdict.where, str(verdict.spec)) == (f"login:webapps.table:{line}", spec)
    assert dict(verdict.overrides) == ({"total_seconds": 5.0} if seuser == "staff_u" else {})


@pytest.mark.parametrize("seuser", ["", "unconfined_u", "user_", "User_u"])
def test_no_login_mapping_and_no_line_are_no_answer(seuser: str) -> None:
    assert source().answer(query(seuser, "s0")) is None
    assert not source().trace(query(seuser, "s0"))[-1].matched


def test_nobody_known_has_no_login() -> None:
    assert source().answer(query("user_u", "s0", user=None)) is None


@pytest.mark.parametrize("level", ["s0-s0:c0.c1023", "s0-s0", "", "SystemHigh", "s0:c1 s0", "*"])
def test_a_login_range_that_is_no_single_level_is_refused(level: str) -> None:
    """A range up to c1023 would dominate everybody."""
    with pytest.raises(Denied, match="which is no single level") as caught:
        source().answer(query("staff_u", level))
    assert caught.value.rule == "login:webapps.table:3"


def test_deny_and_no_answer_of_the_system_are_refusals() -> None:
    with pytest.raises(Denied, match=r"login:webapps\.table:4 says deny"):
        source().answer(query("guest_u", "s0"))
    with pytest.raises(LookupFailed, match="down"):
        source().answer(query(failed="down"))


def test_the_contexts_that_the_policy_is_asked_for_at_the_start() -> None:
    assert [(str(spec), where) for spec, where in source().templates()] == [
        ("user_webapp_t:s0:c1", "login:webapps.table:2"),
        ("staff_webapp_t:*", "login:webapps.table:3"),
        ("staff_webapp_t:*", "login:webapps.table:5"),
    ]


WRONG = {
    "user*_u user_webapp_t": "is no SELinux user",
    "* user_webapp_t": "is no SELinux user",
    "@wheel user_webapp_t": "is no SELinux user",
    "__anonymous__ user_webapp_t": "is no SELinux user",
    '"a b" user_webapp_t': "is no SELinux user",
    "__default__ user_webapp_t": "is no SELinux user",
    "other_u user_webapp_t script=/x": "have no place here",
    "user_u staff_webapp_t": "stands there twice",
    "other_u": "has no context",
    "other_u deny:login-range": "is no context",
    "other_u user_webapp_t:s0:login-range": "is no context",
    "other_u user_webapp_t:Login-range": "is no range",
    "other_u user_webapp_t timout=3": "unknown key",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_in_the_table_names_its_line(line: str) -> None:
    with pytest.raises(MappingError, match=re.escape(WRONG[line])) as caught:
        source(f"{TABLE}{line}\n")
    assert str(caught.value).startswith("/etc/selcgi/webapps.table:6: ")
