"""What goes with which cause: an allow rule for a missing rule alone, never for a constraint."""

from typing import Any

import pytest

from selcgi.system.policy import Vector
from selcgi.system.reason import reason

ALICE = "system_u:system_r:user_webapp_t:s0:c1"
BOB = "system_u:system_r:user_webapp_t:s0:c2"
ASKED = Vector(ALICE, BOB, "process")
MCS = (
    "mlsconstrain process { signal sigkill } ((h1 dom h2 -Fail-)  or (t1 != mcs_constrained_type -Fail-) ); "
    "Constraint DENIED\n"
)
USER = "constrain process { transition } ((u1 == u2 -Fail-)  or (t1 == x -Fail-) ); Constraint DENIED\n"
ROLE = "constrain process { transition } ((r1 == r2 -Fail-) ); Constraint DENIED\n"
# of two clauses one holds
RANGE_HOLDS = "mlsconstrain process { transition } ((h1 dom h2 -Pass-)  and (u1 == u2 -Fail-) ); Constraint DENIED\n"


@pytest.mark.parametrize(
    ("code", "more", "kind", "words", "fix"),
    [
        ("TERULE", None, "rule", "no rule allows", "(allow user_webapp_t user_webapp_t (process (signal)))"),
        ("DONTAUDIT", None, "rule", "out of the log", "(allow user_webapp_t user_webapp_t (process (signal)))"),
        ("BOOLEAN", [["a", 1], ["b", 0]], "boolean", "a is off and b is on", "setsebool -P a on; or: "),
        ("CONSTRAINT", MCS, "constraint", "the range s0:c1 against s0:c2", "change a range"),
        ("CONSTRAINT", USER, "constraint", "the SELinux user system_u", "leave user and role out"),
        ("CONSTRAINT", ROLE, "constraint", "the role system_r", "leave user and role out"),
        ("CONSTRAINT", RANGE_HOLDS, "constraint", "the SELinux user system_u", "leave user and role out"),
        ("RBAC", None, "role", "the role system_r may not become", "(roleallow system_r system_r)"),
        ("BOUNDS", None, "bounds", "is bounded", "typebounds"),
        ("BADSCON", None, "type", f"no context {ALICE}", "load the module that declares user_webapp_t"),
        ("BADTCON", None, "type", f"no context {BOB}", "load the module that declares user_webapp_t"),
        ("BADTCLASS", None, "type", "class process", ""),
        ("BADPERM", None, "type", "process { signal }", ""),
    ],
)  # fmt: skip
def test_each_cause_has_its_words_and_its_cure(code: str, more: Any, kind: str, words: str, fix: str) -> None:
    found = reason(ASKED, ("signal",), code, more)
    assert found.kind == kind
    assert words in found.text
    assert fix in found.fix
    assert bool(fix) == bool(found.fix)


@pytest.mark.parametrize("said", [MCS, USER, ROLE, RANGE_HOLDS])
def test_no_constraint_is_answered_with_an_allow_rule(said: str) -> None:
    assert "(allow" not in reason(ASKED, ("signal",), "CONSTRAINT", said).fix


def test_the_comparisons_that_failed_are_shown_without_the_long_rest() -> None:
    text = reason(ASKED, ("signal",), "CONSTRAINT", MCS).text
    assert text.endswith(
        "a constraint refuses the range s0:c1 against s0:c2: not h1 dom h2, t1 != mcs_constrained_type"
    )
    many = "constrain process { x } (" + " or ".join(f"(u1 == u{n}_u -Fail-) " for n in range(9)) + ");"
    assert reason(ASKED, ("signal",), "CONSTRAINT", many).text.endswith("u1 == u2_u and 6 more")
