"""Each check of `selcgi doctor` finds its fault, planted alone in a clean scene, and names one thing to do."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selcgi.context import ContextSpec
from selcgi.diagnose.doctor import CHECKS, examine, examine_cheaply
from selcgi.diagnose.fault import WHERE_MOST, Check, Fault, merged, run
from selcgi.diagnose.scene import Door, File, Launcher, Place, Scene
from selcgi.errors import LaunchFailed
from selcgi.system.facts import KernelFacts
from selcgi.system.preflight import Step
from selcgi.system.reason import Reason
from tests.diagnose import test_doctor_warm
from tests.diagnose.shipped import SCRIPT, SPECS, WEBAPPS, file, label, policy, scene
from tests.fakes import OWN, Rule

USER = "user_webapp_t"
NOSUID = replace(SCRIPT, place=Place(nosuid=True))
# step: the permission that is taken away, and a word of the fix
LACKING: dict[Step, tuple[Rule, str, str]] = {
    Step.SETEXEC: (("selcgi_t", "selcgi_t", "process"), "setexec", "(allow selcgi_t self (process (setexec)))"),
    Step.OPEN: (("selcgi_t", "selcgi_script_exec_t", "file"), "open", "restorecon -nv /srv/a.cgi"),
    Step.NO_NEW_PRIVILEGES: (
        ("selcgi_t", USER, "process2"), "nnp_transition", "(allow selcgi_t user_webapp_t (process2 (nnp_transition)))"),
    Step.NOSUID: (("selcgi_t", USER, "process2"), "nosuid_transition", "nosuid_transition"),
    Step.TRANSITION: (
        ("selcgi_t", USER, "process"), "transition", "(allow selcgi_t user_webapp_t (process (transition)))"),
    Step.ENTRYPOINT: ((USER, "selcgi_script_exec_t", "file"), "entrypoint", "restorecon -nv /srv/a.cgi"),
    Step.INTERPRETER: (("selcgi_t", "shell_exec_t", "file"), "execute", "restorecon -nv /bin/sh"),
    Step.LOAD: ((USER, "shell_exec_t", "file"), "map", "restorecon -nv /bin/sh"),
    Step.DESCRIPTORS: ((USER, "selcgi_t", "fd"), "use", "(allow user_webapp_t selcgi_t (fd (use)))"),
    Step.PIPES: ((USER, "selcgi_t", "fifo_file"), "write", "(allow user_webapp_t selcgi_t (fifo_file (write)))"),
    Step.WATCH: (("selcgi_t", USER, "process"), "sigkill", "(allow selcgi_t user_webapp_t (process (sigkill)))"),
    Step.LIMITS: (("selcgi_t", USER, "process"), "rlimitinh", "(rlimitinh)"),
    Step.SEARCH: ((USER, "var_t", "dir"), "search", "restorecon -nv /srv"),
    Step.READ: ((USER, "selcgi_script_exec_t", "file"), "open", "restorecon -nv /srv/a.cgi"),
    Step.PROGRAM: ((USER, "bin_t", "file"), "execute_no_trans", "restorecon -nv /usr/bin/perl"),
}  # fmt: skip


def found(looked_at: Scene) -> dict[str, Fault]:
    faults = examine(looked_at)
    names = [fault.check for fault in faults]
    assert len(names) == len(set(names)), faults
    return {fault.check: fault for fault in faults}


def only(looked_at: Scene) -> Fault:
    """The one fault; it says something of everything."""
    (fault,) = examine(looked_at)
    assert fault.what
    assert fault.symptom
    assert fault.fix
    return fault


def test_nothing_is_found_where_all_is_well() -> None:
    assert examine(scene()) == ()


def test_every_step_of_a_launch_has_a_check_and_a_test() -> None:
    assert set(LACKING) == set(Step) <= {one.name for one in CHECKS}


@pytest.mark.parametrize("step", Step)
def test_a_permission_that_is_lacking_is_found_with_its_fix(step: Step) -> None:
    rule, permission, words = LACKING[step]
    fault = only(scene(policy(without=[(rule, permission)]), scripts=(NOSUID,)))
    assert fault.check == step
    assert f"{rule[0]} -> {rule[1]} : {rule[2]} {{ {permission} }} is denied" in fault.what
    assert words in fault.fix
    assert fault.severity == ("warning" if step is Step.LIMITS else "fatal")


def test_where_names_every_line_of_the_mapping_once() -> None:
    rule = ("selcgi_t", USER, "process")
    assert only(scene(policy(without=[(rule, "transition")]))).where == ("site.map:1", "site.map:2")


def plant_permission(source: str, target: str, classname: str, permission: str) -> Scene:
    return scene(policy(more={(source, target, classname): (permission,)}))


GRANTED = [
    ("secure-mode", "selcgi_t", USER, "process", "noatsecure"),
    ("lost-context", "selcgi_t", "selcgi_script_exec_t", "file", "execute_no_trans"),
    ("reaches-selcgi", USER, "selcgi_t", "process", "sigkill"),
    ("reaches-selcgi", USER, "selcgi_t", "process", "dyntransition"),
    ("reaches-selcgi", USER, "selcgi_t", "unix_stream_socket", "connectto"),
    ("reaches-policy", USER, "security_t", "security", "setbool"),
    ("rewrites", USER, "selcgi_conf_t", "file", "append"),
    ("rewrites", USER, "selcgi_script_exec_t", "file", "write"),
    ("rewrites", USER, "selcgi_exec_t", "file", "unlink"),
    ("rewrites", USER, "var_t", "dir", "add_name"),
    ("reaches-others", USER, "staff_webapp_t", "process", "signal"),
    ("reaches-others", "staff_webapp_t", USER, "process", "transition"),
    ("reaches-others", USER, USER, "process", "ptrace"),
]


@pytest.mark.parametrize(("name", "source", "target", "classname", "permission"), GRANTED)
def test_a_permission_too_much_is_found(name: str, source: str, target: str, classname: str, permission: str) -> None:
    fault = only(plant_permission(source, target, classname, permission))
    assert fault.check == name
    assert f"{source} -> {target} : {classname} {{ {permission} }} is granted" in fault.what
    assert f"sesearch -A -s {source} -t {target} -c {classname}" in fault.fix
    assert "(allow" not in fault.fix


UNLABELLED = replace(SCRIPT, label=label("unlabeled_t"))
OTHERS: list[tuple[str, Scene, str]] = [
    ("context", scene(specs=[*SPECS, (ContextSpec("no_such_t"), "site.map:9")]), "semodule -l"),
    ("context", scene(specs=[*SPECS, (ContextSpec(USER, "s0:c2000"), "site.map:9")]), "semanage user -l"),
    ("own-domain", scene(specs=[*SPECS, (ContextSpec("selcgi_t", "s0:c1"), "site.map:9")]), "domain of a web app"),
    ("foreign-domain", scene(policy(types=["staff_t"]), specs=[*SPECS, (ContextSpec("staff_t", "s0"), "site.map:9")]),
     "selcgi policy new"),
    ("permissive-domain", scene(policy(permissive=["staff_webapp_t"])), "semanage permissive -d staff_webapp_t"),
    ("launcher", scene(policy(permissive=["selcgi_t"])), "semanage permissive -d selcgi_t"),
    ("program", scene(program=file("/opt/x/selcgi", "shell_exec_t")), "semanage fcontext -a -t selcgi_exec_t /opt/x"),
    (
        "program",
        scene(policy(without=[(("init_t", "selcgi_t", "process2"), "nnp_transition")])),
        "(allow init_t selcgi_t (process2 (nnp_transition)))",
    ),
    ("policy-capability", scene(kernel=KernelFacts(nnp_nosuid=False)), "NoNewPrivileges=no"),
    ("unknown-classes", scene(kernel=KernelFacts(deny_unknown=False)), "handle-unknown=deny"),
    (
        "lost-context",
        scene(policy(becomes={("selcgi_t", "selcgi_script_exec_t", "process"): USER})),
        "sesearch -T -s selcgi_t -t selcgi_script_exec_t",
    ),
    ("nobody", scene(specs=[]), "add a rule"),
    ("account", scene(accounts=(("site.map:4", LaunchFailed("account", "no user", "getent")),)), "getent"),
    ("dead-rule", scene(dead=("site.map:7",)), "move it up"),
    ("category-bands", scene(clashes=("site.map:2",)), "use others than c512.c1023 and c488.c511, or all of them"),
    ("not-looked-at", scene(omitted=("more than that",)), "a part of it"),
    ("folders", scene(shut=(("/srv/cgj", "No such file or directory"),)), "correct --root"),
    ("labels", scene(scripts=(UNLABELLED,)), "restorecon -F /srv/a.cgi"),
    ("labels", scene(unseen=(File("/srv/b.cgi", "", label("selcgi_script_exec_t")),)), "restorecon -F /srv/b.cgi"),
    (
        "labels",
        scene(scripts=(replace(SCRIPT, label=label("nfs_t"), expected="", place=Place("/srv", labels=False)),)),
        "context=system_u:object_r:selcgi_script_exec_t:s0",
    ),
    ("drift", scene(scripts=(replace(SCRIPT, label=label("var_t")),)), "restorecon -F /srv/a.cgi"),
    ("drift", scene(scripts=(replace(SCRIPT, label=label("selcgi_script_exec_t") + ":c3"),)), "restorecon -F"),
    ("drift", scene(program=File("/opt/selcgi", label("var_t"), label("selcgi_exec_t"))), "restorecon -F /opt/selcgi"),
    ("noexec", scene(scripts=(replace(SCRIPT, place=Place("/srv", noexec=True)),)), "mount -o remount,exec /srv"),
    ("configuration", scene(trusted=(file("/tmp/a.map", "tmp_t"),)), "put it into /etc/selcgi"),
    (
        "web-server",
        scene(policy(without=[(("httpd_t", "selcgi_t", "unix_stream_socket"), "connectto")])),
        "(call selcgi_web_server (httpd_t))",
    ),
    ("web-server", scene(doors=(replace(scene().doors[0], hidden=True),)), "restorecon -RF /run/selcgi"),
    ("tcp-listener", scene(policy(types=["selcgi_port_t"]), doors=(Door("tcp:[::1]:9140"),)), "selcgi_from_tcp on"),
    (
        "denial-listener",
        scene(policy(without=[(("selcgi_avc_t", "selcgi_avc_t", "capability2"), "audit_read")])),
        "(allow selcgi_avc_t self (capability2 (audit_read)))",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "planted", "words"), OTHERS, ids=[f"{one[0]}-{n}" for n, one in enumerate(OTHERS)])
def test_what_else_is_wrong_is_found(name: str, planted: Scene, words: str) -> None:
    fault = only(planted)
    assert fault.check == name
    assert words in fault.fix


def test_every_check_has_a_fault_that_it_finds() -> None:
    tested = {*LACKING, *(one[0] for one in GRANTED), *(one[0] for one in OTHERS), "categories", "new-files"}
    left = {one.name for one in CHECKS} - tested - set(test_doctor_warm.CHECKS)
    assert left == {"launcher-range"}  # which test_ranges_... is about


def test_every_check_is_on_the_page_that_people_read() -> None:
    page = (Path(__file__).resolve().parents[2] / "contrib" / "DIAGNOSIS.md").read_text()
    table = page.partition("| it says |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"[a-z-]+[a-z]", row.split("|")[1])}
    assert named == {"kernel", *(one.name for one in CHECKS)}


def test_categories_of_a_domain_that_ignores_them() -> None:
    fault = only(scene(policy(free=[USER]), specs=SPECS[:1]))
    assert fault.check == "categories"
    assert fault.fix == "(typeattributeset mcs_constrained_type (user_webapp_t))"


def test_new_files_below_the_level_of_their_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = policy()
    monkeypatch.setattr(asked, "created", lambda source, target, name: target if name == "file" else source)
    looked_at = scene(asked, program=None, listener=None, specs=SPECS[:1])
    fault = only(looked_at)
    assert (fault.check, fault.severity, fault.where) == ("new-files", "warning", ("site.map:1",))
    assert "semanage fcontext -a -t TYPE -r s0:c1" in fault.fix


@pytest.mark.parametrize(("range_", "found"), [("s0:c1-s0:c1,c2", []), ("s0-s0:c1,c2", ["new-files"])])
def test_a_low_level_of_ones_own_is_meant_for_new_files(
    range_: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in s0:c{user}-s0:c{user},c{request}: what a request makes is its user's."""
    asked = policy()
    file_label = f"system_u:object_r:{USER}:{range_.partition('-')[0]}"
    monkeypatch.setattr(asked, "canonical", lambda context: context)
    monkeypatch.setattr(asked, "created", lambda *words: file_label if words[2] == "file" else words[0])
    spec = ContextSpec("user_webapp_t", range_)
    faults = scene(asked, program=None, listener=None, specs=((spec, "site.map:1"),))
    assert [fault.check for fault in examine(faults) if fault.check == "new-files"] == found


def test_ranges_of_the_launcher_and_of_its_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = policy()
    created = asked.created
    monkeypatch.setattr(asked, "created", lambda *words: f"{created(*words)}-s0:c0.c1023")
    names = set(found(scene(asked, listener=None, specs=SPECS[2:])))
    assert "launcher-range" in names


def test_without_its_module_nothing_else_is_asked() -> None:
    asked = policy()
    asked.types.discard("selcgi_t")
    fault = only(scene(asked))
    assert (fault.check, fault.fix[:12]) == ("launcher", "semodule -i ")


def test_a_constraint_is_not_answered_with_an_allow_rule() -> None:
    rule = ("selcgi_t", USER, "process")

    def why(source: str, target: str, classname: str, permissions: Any) -> Reason:
        assert (source, classname, tuple(permissions)) == (str(OWN), "process", ("transition",))
        return Reason("constraint", f"a constraint refuses {target}", "change the range")

    fault = only(scene(policy(without=[(rule, "transition")]), why=why, specs=SPECS[:1]))
    assert fault.fix == "a constraint refuses system_u:system_r:user_webapp_t:s0:c1: change the range"


def test_a_denial_without_a_record_says_so() -> None:
    rule = ("selcgi_t", USER, "process")
    asked = policy(without=[(rule, "sigkill")], silent={rule: ("sigkill",)})
    assert only(scene(asked)).silent
    assert not only(scene(policy(without=[(rule, "sigkill")]))).silent


def test_the_cheap_checks_ask_about_no_file() -> None:
    rule = ("selcgi_t", USER, "process")
    planted = scene(policy(without=[(rule, "transition")]), scripts=(UNLABELLED,))
    assert {fault.check for fault in examine_cheaply(planted)} == {"transition"}


def test_a_unit_without_no_new_privileges_does_not_need_that() -> None:
    rule = ("selcgi_t", USER, "process2")
    assert examine(scene(policy(without=[(rule, "nnp_transition")]), launcher=Launcher(OWN, "", False))) == ()


def test_a_check_that_crashes_is_a_fault_and_the_others_go_on() -> None:
    def crash(_: Scene) -> Iterator[Fault]:
        raise ZeroDivisionError("by a bug")

    faults = run((Check("broken", crash, cheap=False), *CHECKS), scene(dead=("site.map:7",)))
    assert [fault.check for fault in faults] == ["broken", "dead-rule"]
    assert "by a bug" in faults[0].what


def test_places_of_one_fault_are_bounded() -> None:
    one = Fault("context", "fatal", "what", "symptom", "fix")
    (all_,) = merged(replace(one, where=(f"site.map:{number}",)) for number in range(1000))
    assert len(all_.where) == WHERE_MOST


def test_a_web_server_that_a_listener_names_is_asked_about() -> None:
    door = replace(scene().doors[0], peer_types=("init_t",))
    asked = policy(more={("init_t", "selcgi_runtime_t", name): (word,) for name, word in OPEN.items()})
    fault = only(scene(asked, doors=(door,)))
    assert fault.check == "web-server"
    assert "init_t -> selcgi_t : unix_stream_socket { connectto }" in fault.what


OPEN = {"dir": "search", "sock_file": "write"}
assert set(WEBAPPS) == {spec.domain for spec, _ in SPECS}
