"""What the second run was refused is kept apart by cause, and the verdict claims no more than was seen."""

from dataclasses import replace

import pytest

from selcgi.learn.lesson import Lesson, Refused, refused_again, sort_out
from selcgi.policy.learned import rules
from selcgi.system.audit import Denial
from selcgi.system.refusals import SILENT
from tests.fakes import FakePolicy

TWIN, DOMAIN = "learn_1_webapp_t", "user_webapp_t"
POLICY = FakePolicy(
    {
        (TWIN, "user_webapp_rw_t", "file"): ("read", "open"),
        (TWIN, "security_t", "dir"): (),
        (TWIN, "usr_t", "file"): (),
        (TWIN, TWIN, "process"): (),
    }
)


def denial(target: str, classname: str, *permissions: str, **fields: str) -> Denial:
    source = f"system_u:system_r:{TWIN}:s0:c1"
    return Denial(0.0, 1, 812, "x.py", permissions, source, f"system_u:object_r:{target}", classname, fields)


BOBS = denial("user_webapp_rw_t:s0:c2", "file", "read", name="bob.txt")
SECURITY = denial("security_t:s0", "dir", "read", path="/sys/fs/selinux")
MISSING = denial("usr_t:s0", "file", "read", "open", path="/usr/x")


def of(*denials: Denial, withheld: tuple[Denial, ...] = ()) -> Refused:
    first, _ = sort_out(withheld, TWIN, DOMAIN, POLICY)
    wants, unallowed = sort_out(denials, TWIN, DOMAIN, POLICY)
    return refused_again(wants, unallowed, rules(first))


def test_refusals_of_the_second_run_are_told_apart() -> None:
    found = of(BOBS, BOBS, SECURITY, MISSING, withheld=(SECURITY,))
    (missing,), (unallowed,), (withheld,) = found.missing, found.unallowed, found.withheld
    assert missing == "it still wanted to read /usr/x (usr_t:s0) (read open)"
    assert unallowed.startswith("it wanted to read bob.txt (user_webapp_rw_t:s0:c2): refused, by its categories")
    assert withheld == "it wanted to list /sys/fs/selinux (security_t:s0): SELinux's own files"


def test_a_twin_is_not_named() -> None:
    own = replace(denial("x:s0", "process", "execmem"), target=f"system_u:system_r:{TWIN}:s0:c1")
    (want,), _ = sort_out([own], TWIN, DOMAIN, POLICY)
    assert want.target == "self"
    assert TWIN not in want.example


OK, FAILED = ("Status: 200 OK",), ("Status: 500",)


def lesson(refused: Refused, after: tuple[str, ...] = OK, lost: bool = False) -> Lesson:
    return Lesson((), (), OK, after, refused, lost)


def test_only_where_nothing_was_refused_nothing_is_missing() -> None:
    one = lesson(Refused())
    assert one.nothing_refused
    assert one.verdict == "proven: with this block nothing is missing"


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (of(BOBS), "what no rule allows (1)"),
        (of(withheld=(SECURITY,)), "what was left out as dangerous (1)"),
        (of(BOBS, SECURITY, withheld=(SECURITY,)), "what no rule allows (1) and what was left out as dangerous (1)"),
    ],
)
def test_what_it_copes_with_was_refused_nevertheless(refused: Refused, told: str) -> None:
    one = lesson(refused)
    assert (one.proven, one.nothing_refused) == (True, False)
    assert one.verdict == f"proven, but for {told}:"
    assert lesson(refused, FAILED).verdict == f"not proven; refused again was {told}:"
    assert lesson(refused, FAILED).missing == ()


def test_an_application_that_fails_where_it_may_do_all_has_proven_nothing() -> None:
    one = replace(
        lesson(Refused()), failing=("/srv/cgi/x.py: Status: 502 Bad Gateway: it wrote nothing (step response)",)
    )
    assert (one.proven, one.nothing_refused) == (False, False)
    assert one.verdict.startswith("not proven: it fails where nothing is refused, too")
    assert one.missing == ()


def test_what_nothing_recorded_explains_may_be_a_silent_refusal() -> None:
    one = lesson(Refused(), FAILED)
    assert not one.proven
    assert one.missing == (SILENT,)
    assert lesson(of(MISSING), FAILED).missing == of(MISSING).missing
    assert lesson(Refused(), FAILED, lost=True).missing == (), "there is more to say, which was not read"
