"""Each check of warm interpreters finds its fault, planted alone, and names one thing to do."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from selcgi.context import ContextSpec
from selcgi.diagnose.doctor import examine
from selcgi.diagnose.scene import Scene, Warmth
from tests.diagnose.shipped import SCRIPT, SPECS, file, label, policy, scene
from tests.diagnose.test_explain_warm import MOVE, ZYGOTE
from tests.fakes import Rule

CHECKS = ("zygote", "zygote-start", "zygote-move", "zygote-program", "zygote-script")
PYTHON = file("/usr/bin/python3", "bin_t")
PROGRAM = replace(
    SCRIPT, label=label("selcgi_zygote_exec_t"), expected=label("selcgi_zygote_exec_t"), interpreter=PYTHON,
    program=None, folders=(), paths=("/opt/selcgi/bin/selcgi-zygote",),
)  # fmt: skip
SURE = Warmth(frozenset({"user_webapp_t"}), program=PROGRAM)
RULES = {**ZYGOTE, ("user_zygote_t", "selcgi_script_exec_t", "file"): ("open", "read")}


def warm(without: Iterable[tuple[Rule, str]] = (), warmth: Warmth = SURE, **changes: Any) -> Scene:
    left = {rule: tuple(one for one in names if (rule, one) not in set(without)) for rule, names in RULES.items()}
    permissive = changes.pop("permissive", ())
    asked = policy(more=left, permissive=permissive)
    return scene(asked, warmth=warmth, scripts=(replace(SCRIPT, interpreter=PYTHON, program=None),), **changes)


LACKING: list[tuple[str, Rule, str, str]] = [
    ("zygote-start", ("selcgi_t", "user_zygote_t", "process"), "transition", "setsebool -P selcgi_webapp_warm on"),
    ("zygote-start", ("selcgi_t", "user_zygote_t", "process2"), "nnp_transition", "nnp_transition"),
    ("zygote-start", ("user_zygote_t", "selcgi_t", "fd"), "use", "(allow user_zygote_t selcgi_t (fd (use)))"),
    ("zygote-move", ("user_zygote_t", "user_zygote_t", "process"), "setcurrent", "(process (setcurrent))"),
    ("zygote-move", MOVE, "dyntransition", "setsebool -P selcgi_webapp_warm on"),
    ("zygote-move", ("user_zygote_t", "selcgi_t", "unix_stream_socket"), "read", "(unix_stream_socket (read))"),
    ("zygote-program", ("user_zygote_t", "selcgi_zygote_exec_t", "file"), "entrypoint", "restorecon -nv /opt/selcgi"),
    ("zygote-program", ("selcgi_t", "selcgi_zygote_exec_t", "file"), "execute", "restorecon -nv /opt/selcgi/bin"),
    ("zygote-script", ("user_zygote_t", "selcgi_script_exec_t", "file"), "read",
     "(call selcgi_zygote_reads (user_zygote_t selcgi_script_exec_t))"),
]  # fmt: skip


def test_nothing_is_found_where_all_is_well() -> None:
    assert examine(warm()) == ()


@pytest.mark.parametrize(("check", "rule", "permission", "words"), LACKING)
def test_what_is_lacking_is_found_alone(check: str, rule: Rule, permission: str, words: str) -> None:
    (fault,) = examine(warm([(rule, permission)]))
    assert (fault.check, fault.severity) == (check, "fatal")
    assert f"{rule[0]} -> {rule[1]} : {rule[2]} {{ {permission} }} is denied" in fault.what
    assert words in fault.fix
    assert set(fault.where) >= {"site.map:1", "site.map:2"}


def test_a_boolean_that_is_off_is_one_fault() -> None:
    off = [(("selcgi_t", "user_zygote_t", "process"), "transition"), (MOVE, "dyntransition")]
    (fault,) = examine(warm(off))
    assert (fault.check, fault.fix) == ("zygote-start", "setsebool -P selcgi_webapp_warm on")


def test_nobody_who_runs_fresh_is_asked_about() -> None:
    assert examine(warm([(MOVE, "dyntransition")], warmth=Warmth())) == ()


def test_what_works_in_part_is_a_warning() -> None:
    perhaps = Warmth(perhaps=SURE.sure, program=PROGRAM)
    assert [one.severity for one in examine(warm([(MOVE, "dyntransition")], warmth=perhaps))] == ["warning"]


def test_a_domain_without_a_zygote() -> None:
    (fault,) = examine(warm(warmth=replace(SURE, sure=frozenset({"staff_webapp_t"}))))
    assert (fault.check, fault.where) == ("zygote", ("site.map:3",))
    assert "staff_zygote_t is unknown" in fault.what
    assert "(blockinherit selcgi_warm)" in fault.fix


def test_a_domain_that_can_have_none_is_left_to_the_mapping() -> None:
    odd = [*SPECS, (ContextSpec("selcgi_script_exec_t"), "site.map:4")]
    assert "zygote" not in {one.check for one in examine(warm(specs=odd))}


def test_a_permissive_zygote() -> None:
    (fault,) = examine(warm(permissive=["user_zygote_t"]))
    assert (fault.check, fault.fix) == ("zygote", "semanage permissive -d user_zygote_t")


def test_a_program_that_is_not_there() -> None:
    (fault,) = examine(warm(warmth=replace(SURE, program=None)))
    assert fault.check == "zygote-program"
    assert "not installed" in fault.what
    assert examine(warm(warmth=replace(SURE, program=None), there=("the programs",)))[0].check == "not-looked-at"


def test_a_program_that_lost_its_label_is_drift() -> None:
    lost = replace(PROGRAM, label=label("bin_t"))
    (fault,) = examine(warm(warmth=replace(SURE, program=lost)))
    assert (fault.check, fault.fix.split(",")[0]) == ("drift", "restorecon -F /opt/selcgi/bin/selcgi-zygote")


def test_a_program_in_a_place_of_another_kind_is_relabelled_and_reported_once() -> None:
    stray = replace(PROGRAM, label=label("var_t"), expected=label("var_t"))
    (fault,) = examine(warm(warmth=replace(SURE, program=stray)))
    assert fault.check == "zygote-program"
    assert "semanage fcontext -a -t selcgi_zygote_exec_t /opt/selcgi/bin/selcgi-zygote" in fault.fix
    assert "(allow" not in fault.fix
