"""Every state of SELinux in which selcgi must not start, and what it says then."""

from dataclasses import replace

import pytest

from selcgi.system.facts import Facts, refusal

GOOD = Facts(True, "system_u:system_r:selcgi_t:s0", None, enabled=True, enforcing=True, domain_permissive=False)
NEVER = [
    (replace(GOOD, in_kernel=False), "this kernel runs without it", "--selinux off"),
    (replace(GOOD, label=""), "is 'empty'", "load a policy"),
    (replace(GOOD, label="kernel"), "is 'kernel'", "load a policy"),
    (replace(GOOD, label="unconfined"), "is 'unconfined'", "load a policy"),  # AppArmor answers so
    (replace(GOOD, enabled=False), "selinuxfs is missing or read-only", "read-write"),
    (replace(GOOD, label="system_u:system_r:initrc_t:s0"), "runs in initrc_t, not in selcgi_t", "contrib/selinux"),
    (replace(GOOD, label="u:r:unconfined_t:s0"), "runs in unconfined_t", "by the unit"),
    (replace(GOOD, label="u:r:selcgi_t:s0-s0:c0.c1023"), "not at s0", "SELinuxContext=u:r:selcgi_t:s0"),
    (replace(GOOD, label="u:r:selcgi_t:s0:c3"), "not at s0", "runcon"),
]
DEVELOPING = [
    (replace(GOOD, enforcing=False), "the kernel is permissive", "setenforce 1"),
    (replace(GOOD, domain_permissive=True), "domain selcgi_t is permissive", "semanage permissive -d selcgi_t"),
]


@pytest.mark.parametrize("permissive_ok", [False, True])
@pytest.mark.parametrize("label", [GOOD.label, "u:r:selcgi_t"], ids=["MLS", "no MLS"])
def test_good_facts_are_good(label: str, permissive_ok: bool) -> None:
    assert refusal(replace(GOOD, label=label), permissive_ok) is None


@pytest.mark.parametrize(("facts", "reason", "fix"), [*NEVER, *DEVELOPING])
def test_required_refuses_with_cause_and_fix(facts: Facts, reason: str, fix: str) -> None:
    refused = refusal(facts, permissive_ok=False)
    assert refused is not None
    assert reason in refused.reason
    assert fix in refused.fix


@pytest.mark.parametrize(("facts", "reason", "_"), NEVER)
def test_permissive_ok_forgives_nothing_else(facts: Facts, reason: str, _: str) -> None:
    refused = refusal(facts, permissive_ok=True)
    assert refused is not None
    assert reason in refused.reason


@pytest.mark.parametrize(("facts", "_", "__"), DEVELOPING)
def test_permissive_ok_is_for_developing_a_policy(facts: Facts, _: str, __: str) -> None:
    assert refusal(facts, permissive_ok=True) is None
