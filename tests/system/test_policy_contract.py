"""What diagnose/ relies on, asked of FakePolicy everywhere and of the shipped policy: in the kernel inside the guest,
in a file outside it.
"""

from collections.abc import Iterator

import pytest

from selcgi.system.policy import Policy, open_policy
from selcgi.system.policyfile import open_policy_file
from tests.fakes import FakePolicy

LAUNCHER = "system_u:system_r:selcgi_t:s0"
WEBAPP = "system_u:system_r:user_webapp_t:s0:c1"
OWN_FILE = "system_u:object_r:user_webapp_rw_t:s0:c1"
ANOTHERS = "system_u:object_r:user_webapp_rw_t:s0:c2"
SCRIPT = "system_u:object_r:selcgi_script_exec_t:s0"
PLACE = "system_u:object_r:tmp_t:s0"
FAKE = FakePolicy(
    allowed={
        ("selcgi_t", "user_webapp_t", "process"): ("transition", "sigkill"),
        ("user_webapp_t", "user_webapp_t", "process"): ("fork",),
        ("user_webapp_t", "user_webapp_rw_t", "file"): ("read", "write"),
        ("selcgi_t", "selcgi_script_exec_t", "file"): ("execute",),
        ("user_webapp_t", "tmp_t", "dir"): ("search",),
    },
    silent={("selcgi_t", "user_webapp_t", "process"): ("noatsecure",)},
    transitions={("user_webapp_t", "tmp_t", "file"): "user_webapp_rw_t"},
)


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        pytest.param("kernel", marks=pytest.mark.enforcing),
        pytest.param("file", marks=pytest.mark.guest),
    ],
)
def policy(request: pytest.FixtureRequest) -> Iterator[Policy]:
    if request.param == "file":
        from tests.guest import policy as shipped

        with open_policy_file(shipped.compiled() / "policy") as opened:
            yield opened
    else:
        yield FAKE if request.param == "fake" else open_policy()


def test_what_is_allowed_is_named(policy: Policy) -> None:
    vector = policy.vector(LAUNCHER, WEBAPP, "process")
    assert (vector.source, vector.target, vector.classname) == (LAUNCHER, WEBAPP, "process")
    assert vector.known
    assert not vector.permissive
    assert {"transition", "sigkill"} <= vector.allowed


def test_what_is_not_granted_is_not_there(policy: Policy) -> None:
    vector = policy.vector(WEBAPP, LAUNCHER, "process")
    assert vector.known
    assert vector.allowed.isdisjoint({"transition", "dyntransition", "sigkill", "ptrace"})


def test_what_is_denied_without_a_record_is_silent(policy: Policy) -> None:
    vector = policy.vector(LAUNCHER, WEBAPP, "process")
    assert "noatsecure" in vector.silent
    assert "noatsecure" not in vector.allowed
    assert vector.silent.isdisjoint(vector.allowed)


def test_categories_are_part_of_the_question(policy: Policy) -> None:
    assert {"read", "write"} <= policy.vector(WEBAPP, OWN_FILE, "file").allowed
    assert {"read", "write"}.isdisjoint(policy.vector(WEBAPP, ANOTHERS, "file").allowed)


@pytest.mark.parametrize(
    ("source", "target", "classname"),
    [
        (LAUNCHER, WEBAPP, "no_such_class"),
        ("system_u:system_r:no_such_t:s0", WEBAPP, "process"),
        (LAUNCHER, "system_u:object_r:no_such_t:s0", "file"),
        (LAUNCHER, "", "file"),
        (LAUNCHER, "no context", "file"),
    ],
)
def test_what_the_policy_does_not_know_is_denied_and_said(
    policy: Policy, source: str, target: str, classname: str
) -> None:
    vector = policy.vector(source, target, classname)
    assert not vector.known
    assert not vector.allowed


@pytest.mark.parametrize(
    ("context", "printed"),
    [
        (WEBAPP, WEBAPP),
        ("system_u:system_r:user_webapp_t:s0:c5,c1", "system_u:system_r:user_webapp_t:s0:c1,c5"),
        ("system_u:system_r:no_such_t:s0", None),
        ("system_u:system_r:user_webapp_t:s0:c1024", None),
        ("no_such_u:system_r:user_webapp_t:s0", None),
        ("", None),
    ],
)
def test_a_context_is_printed_in_one_way_or_unknown(policy: Policy, context: str, printed: str | None) -> None:
    assert policy.canonical(context) == printed


def test_what_something_new_is_labelled(policy: Policy) -> None:
    assert policy.created(LAUNCHER, SCRIPT, "process") == LAUNCHER
    assert policy.created(WEBAPP, PLACE, "file") == OWN_FILE
    assert policy.created(LAUNCHER, SCRIPT, "no_such_class") == ""
    assert policy.created(LAUNCHER, "system_u:object_r:no_such_t:s0", "file") == ""


def test_the_serial_stays_while_the_policy_does(policy: Policy) -> None:
    assert policy.serial() == policy.serial()
