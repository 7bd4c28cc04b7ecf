"""The isolation proof over the shipped policy and the demo's mapping: nothing is found, and each planted rule is."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest

from selcgi.context import Band
from selcgi.diagnose.isolation import Report, audit
from selcgi.diagnose.mapped import CONTEXTS_MOST, mapped
from selcgi.errors import PolicyUnreadable
from selcgi.mapping.categories import Bands
from selcgi.mapping.index import Index
from selcgi.mapping.table import Table
from selcgi.system.policyfile import PolicyFile, open_policy_file
from tests.enforcing import site
from tests.guest import policy

DEMO = tuple(site.CONTEXTS.values())
# boolean of plants.cil -> kind, column, source, target and words of the one finding that must be there
PLANTS = {
    "plant_write": ("direct", "selcgi", "user_webapp_t", "selcgi_conf_t", "file { write }"),
    "plant_connect": ("direct", "selcgi", "anon_webapp_t", "selcgi_runtime_t", "sock_file { write }"),
    "plant_signal": ("direct", "others", "anon_webapp_t", "staff_webapp_t", "process { signal }"),
    "plant_trace": ("direct", "servers", "staff_webapp_t", "httpd_t", "process { ptrace }"),
    "plant_warm": ("direct", "selcgi", "anon_webapp_t", "plant_zygote_t", "process { ptrace }"),
    "plant_stray": ("direct", "others", "user_zygote_t", "staff_webapp_t", "process { dyntransition }"),
    "plant_curious": ("direct", "others", "anon_zygote_t", "user_webapp_rw_t", "file { read }"),
    "plant_labels": ("direct", "itself", "staff_zygote_t", "staff_zygote_t", "process { setexec }"),
    "plant_chain": ("direct", "selcgi", "user_zygote_t", "staff_zygote_t", "process { dyntransition }"),
    "plant_transition": ("direct", "selcgi", "anon_webapp_t", "selcgi_t", "process { transition }"),
    "plant_dynamic": ("path", "servers", "staff_webapp_t", "unconfined_t", "staff_webapp_t -> unconfined_t"),
    "plant_steps": ("path", "servers", "user_webapp_t", "httpd_t",
                    "user_webapp_t -> plant_middle_t (by plant_middle_exec_t) -> httpd_t (by httpd_exec_t)"),
    "plant_entrypoint": ("program", "servers", "user_webapp_t", "httpd_t", "by user_webapp_rw_t"),
    "plant_data": ("direct", "others", "user_webapp_t", "staff_webapp_rw_t", "file { read }"),
    "plant_load": ("direct", "policy", "anon_webapp_t", "security_t", "security { load_policy }"),
    "plant_store": ("direct", "policy", "staff_webapp_t", "semanage_store_t", "dir { add_name }"),
    "plant_library": ("direct", "policy", "user_webapp_t", "lib_t", "file { write }"),
    "plant_program": ("direct", "policy", "user_webapp_t", "bin_t", "dir { add_name }"),
    "plant_relabel": ("direct", "others", "user_webapp_t", "httpd_sys_script_exec_t", "file { entrypoint }"),
    "plant_module": ("direct", "policy", "anon_webapp_t", "lib_t", "system { module_load }"),
    "plant_disk": ("direct", "policy", "staff_webapp_t", "fixed_disk_device_t", "blk_file { read }"),
    "plant_server": ("direct", "policy", "staff_webapp_t", "httpd_config_t", "file { read }"),
    "plant_owner": ("direct", "itself", "user_webapp_t", "user_webapp_t", "capability { chown }"),
    "plant_bpf": ("direct", "itself", "anon_webapp_t", "anon_webapp_t", "bpf { prog_load }"),
    "plant_admin": ("direct", "itself", "user_webapp_t", "user_webapp_t", "capability2 { mac_admin }"),
}  # fmt: skip


def table_of(contexts: Iterable[str]) -> Table:
    return Table([Index("".join(f"user{n} {one}\n" for n, one in enumerate(contexts)).encode(), "site.map")])


def report_of(opened: PolicyFile, contexts: Iterable[str]) -> Report:
    return audit(opened, mapped(table_of(contexts)), lambda _done, _all: None)


def found_in(report: Report) -> list[tuple[str, str, str, str, str]]:
    return [(one.kind, one.column, one.source.domain, one.target.domain, one.what) for one, _ in report.findings]


@pytest.fixture(scope="module")
def shipped() -> Iterator[PolicyFile]:
    with open_policy_file(policy.compiled() / "policy") as opened:
        yield opened


@pytest.mark.guest
def test_shipped_policy_keeps_the_contexts_of_the_demo_apart(shipped: PolicyFile) -> None:
    report = report_of(shipped, DEMO)
    assert found_in(report) == []
    assert len(report.contexts) == len(set(DEMO))
    alice, bob = report.contexts[0].context, report.contexts[1].context
    assert report.cells[alice, "selcgi"] == report.cells[alice, str(bob)] == 0, "something is meant to be allowed"
    assert report.cells[alice, "policy"] == 0, "settings and programs of all may be read"
    assert (alice, "itself") not in report.cells
    assert {str(one.context) for one in report.zygotes} == {
        f"system_u:system_r:{name}_zygote_t:s0" for name in ("user", "staff", "anon")
    }


@pytest.mark.guest
@pytest.mark.parametrize("name", PLANTS)
def test_one_planted_rule_is_found(tmp_path: Path, name: str) -> None:
    *exact, words = PLANTS[name]
    with open_policy_file(policy.planted(policy.compiled() / "policy", name, tmp_path / "policy")) as opened:
        report = report_of(opened, DEMO)
    found = found_in(report)
    assert any([*one[:4]] == exact and words in one[4] for one in found), found
    if name not in ("plant_relabel", "plant_library"):  # what they may write by then is run by rules that were there
        assert all(f"[ {name} ]:True" in " ".join(one.rules) for one, _ in report.findings)


def test_every_plant_has_a_test() -> None:
    """plant_launch is the doctor's."""
    planted = [line.split()[1] for line in policy.PLANTS.read_text().splitlines() if line.startswith("(boolean ")]
    assert set(planted) == {*PLANTS, "plant_refused", "plant_launch"}


@pytest.mark.guest
def test_with_warm_interpreters_on_they_move_into_their_own_domain_and_nothing_else(tmp_path: Path) -> None:
    path = policy.planted(policy.compiled() / "policy", "selcgi_webapp_warm", tmp_path / "policy")
    with open_policy_file(path) as opened:
        report = report_of(opened, DEMO)
    assert found_in(report) == []
    for zygote in report.zygotes:
        domain = zygote.context.domain.replace("zygote", "webapp")
        own = [one.context for one in report.contexts if one.context.domain == domain]
        assert own
        assert all(report.cells[zygote.context, str(one)] == 0 for one in own), "the move is meant"
        assert (zygote.context, "itself") in report.cells


@pytest.mark.guest
def test_a_rule_that_a_constraint_makes_void_is_no_finding(tmp_path: Path) -> None:
    with open_policy_file(policy.planted(policy.compiled() / "policy", "plant_refused", tmp_path / "policy")) as opened:
        assert found_in(report_of(opened, DEMO)) == []
        same_level = report_of(opened, ["user_webapp_t:s0", "staff_webapp_t:s0"])
    assert ("direct", "others", "user_webapp_t", "staff_webapp_t", "process { signal }") in found_in(same_level)


@pytest.mark.guest
def test_a_user_without_categories_shares_his_files_with_those_who_have_some(shipped: PolicyFile) -> None:
    report = report_of(shipped, ["user_webapp_t:s0", "user_webapp_t:s0:c1", "user_webapp_t:s0:c2"])
    targets = {(one.target.domain, one.target.range) for one, _ in report.findings}
    assert targets == {("user_webapp_rw_t", "s0")}
    assert {count for _, count in report.findings} == {2}


@pytest.mark.guest
def test_users_of_a_template_are_apart_and_the_requests_of_one_share_his_files(shipped: PolicyFile) -> None:
    assert found_in(report_of(shipped, ["user_webapp_t:s0:c{user}"])) == []
    assert found_in(report_of(shipped, ["user_webapp_t:s0:c{user}-s0:c{user},c{request}"])) == []
    both = ["user_webapp_t:s0:c{user}", "user_webapp_t:s0:c{user}-s0:c{user},c{request}"]
    assert found_in(report_of(shipped, both)) == [], "a user has the same pair by whatever rule"
    assert found_in(report_of(shipped, ["user_webapp_t:s0-s0:c{request}"])), "users of one level share files"


def clashing(contexts: Iterable[str], *bands: str) -> list[tuple[str, str]]:
    found = mapped(table_of(contexts), Bands(*map(Band.parse, bands or ("c512.c1023", "c488.c511"))))
    return [(one.where, one.clash) for one in found if one.clash]


def test_categories_that_could_be_anybodys_are_told_of_each_context() -> None:
    own = "staff_webapp_t:s0:c{user}"
    assert clashing(["user_webapp_t:s0:c600,c601"]) == [], "nobody is given any"
    assert clashing(["user_webapp_t:s0:c7", "user_webapp_t:s0-s0:c0.c1023", own]) == []
    found = clashing(["user_webapp_t:s0:c600,c601", own])
    assert found == [("site.map:1", "c600.c600 of s0:c600,c601 can be somebody's own, too")]
    assert clashing(["user_webapp_t:s0:c600,c601", own], "c100.c200", "c0.c1") == []
    assert [where for where, _ in clashing(["user_webapp_t:s0:c1", own], "c100.c200", "c0.c1")] == ["site.map:1"]


def test_bands_with_one_pair_have_one_user_and_one_request() -> None:
    bands = Bands(Band(4, 5), Band(6, 7))
    found = mapped(table_of(["user_webapp_t:s0:c{user}-s0:c{user},c{request}"]), bands)
    assert [one.context.range for one in found] == ["s0:c4,c5-s0:c4,c5,c6,c7"]


@pytest.mark.guest
def test_a_context_with_categories_of_others_is_a_finding(shipped: PolicyFile) -> None:
    report = report_of(shipped, ["user_webapp_t:s0:c600,c601", "staff_webapp_t:s0:c{user}"])
    (only,) = found_in(report)
    assert only[:3] == ("categories", "itself", "user_webapp_t")
    assert report.cells[report.contexts[0].context, "itself"] == 1


@pytest.mark.guest
@pytest.mark.parametrize(
    ("context", "words"),
    [("no_such_t:s0", "unknown"), ("user_webapp_t:s0:c1024", "unknown"), ("plant_middle_t:s0", "permissive")],
)
def test_a_context_that_confines_nobody_is_a_finding(shipped: PolicyFile, context: str, words: str) -> None:
    report = report_of(shipped, [*DEMO, context])
    kinds = {(one.kind, one.source.domain) for one, _ in report.findings if words in one.what}
    assert kinds == {("context", context.partition(":")[0])}


def test_too_many_contexts_are_refused_by_name() -> None:
    specs = [f"user_webapp_t:s0:c{n},c{n + 1 + n // 1000}" for n in range(CONTEXTS_MOST)]
    assert len(mapped(table_of(specs))) == CONTEXTS_MOST
    with pytest.raises(PolicyUnreadable, match=str(CONTEXTS_MOST)) as raised:
        mapped(table_of([*specs, "staff_webapp_t:s0"]))
    assert "c{user}" in raised.value.fix


def test_a_policy_without_selcgi_proves_nothing() -> None:
    class Bare:
        def canonical(self, context: str) -> None:
            assert "selcgi_t" in context

    with pytest.raises(PolicyUnreadable, match="has no system_u:system_r:selcgi_t:s0"):
        report_of(cast(PolicyFile, Bare()), DEMO)
