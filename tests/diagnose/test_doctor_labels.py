"""A wrong label is one fault, answered by a label: never by an allow rule, whatever else is denied behind it."""

from dataclasses import replace
from typing import Any

import pytest

from selcgi.context import ContextSpec
from selcgi.diagnose.doctor import examine
from selcgi.diagnose.scene import File
from tests.diagnose.shipped import RULES, SCRIPT, SPECS, file, label, policy, scene
from tests.diagnose.test_doctor import UNLABELLED, USER, only


def test_behind_a_wrong_label_nothing_else_is_reported() -> None:
    """What the right label would be granted is not answered with an allow rule for the wrong one."""
    wrong = replace(SCRIPT, label=label("no_script_t"))
    fault = only(scene(scripts=(wrong,)))
    assert fault.check == "drift"
    interpreter = replace(SCRIPT, interpreter=File("/bin/sh", label("no_script_t"), label("shell_exec_t")))
    assert only(scene(scripts=(interpreter,))).check == "drift"


def test_a_script_in_a_place_of_another_kind_is_relabelled_and_reported_once() -> None:
    """The label is as its place says, so it is no drift; an allow rule would make a script of all that lies there."""
    stray = replace(SCRIPT, label=label("var_t"), expected=label("var_t"))
    fault = only(scene(scripts=(stray,)))
    assert fault.check == "entrypoint"
    assert "semanage fcontext -a -t selcgi_script_exec_t /srv/a.cgi" in fault.fix
    assert "(allow" not in fault.fix
    assert set(fault.where) == {"/srv/a.cgi", "site.map:1", "site.map:2", "site.map:3"}


def test_scripts_of_another_application_are_no_fault() -> None:
    """Nor where they are all that is in sight; a domain that no script of any kind may enter is one."""
    shop = {("selcgi_t", "shop_t", "file"): RULES["selcgi_t", "selcgi_script_exec_t", "file"],
            ("staff_webapp_t", "shop_t", "file"): RULES[USER, "selcgi_script_exec_t", "file"]}  # fmt: skip
    script = replace(SCRIPT, label=label("shop_t"), expected=label("shop_t"), paths=("/srv/shop.cgi",))
    both, alone = (only(scene(policy(more=shop), scripts=seen)) for seen in ((SCRIPT, script), (script,)))
    assert (both.check, both.severity, both.fix) == ("entrypoint", "note", "none is needed, if it is meant so")
    assert (alone.check, alone.severity, alone.fix) == ("entrypoint", "note", "name every --root that selcgi serve has")
    assert alone.where == ("/srv/shop.cgi", "site.map:1", "site.map:2")
    refused = policy(more=shop, without=[((USER, "selcgi_script_exec_t", "file"), "entrypoint")])
    assert only(scene(refused, scripts=(script,))).severity == "fatal"


def test_the_scripts_of_an_application_in_its_own_folder_are_a_note_to_the_domains_of_others() -> None:
    """As the template has it: others may not even walk there, and are not to be let."""
    name, app = "app_webapp_t", label("app_script_t")
    more = {(name, *rule[1:]): names for rule, names in RULES.items() if rule[0] == USER}
    more |= {(rule[0], name, rule[2]): names for rule, names in RULES.items() if rule[1] == USER}
    more |= {(name, "app_script_t", "file"): ("entrypoint", "read", "open"), (name, "app_script_t", "dir"): ("search",)}
    more |= {("selcgi_t", "app_script_t", "file"): ("execute", "read", "open", "getattr")}
    more |= {("selcgi_t", "app_script_t", "dir"): ("search",)}
    folder = File("/srv/app", app, app)
    apps = replace(SCRIPT, label=app, expected=app, folders=(*SCRIPT.folders, folder), paths=("/srv/app/a.cgi",))
    asked = policy(more=more)
    both = {"specs": [*SPECS, (ContextSpec(name, "s0"), "site.map:9")], "scripts": (SCRIPT, apps)}
    for fault in examine(scene(asked, **both)):
        assert (fault.check, fault.severity) == ("entrypoint", "note"), fault
        assert "(allow" not in fault.fix
    more[("selcgi_t", "app_script_t", "dir")] = ()
    (lacking,) = [one for one in examine(scene(policy(more=more), **both)) if one.severity != "note"]
    assert lacking.what == "selcgi_t -> app_script_t : dir { search } is denied"


@pytest.mark.parametrize("name", ["interpreter", "program"])
def test_an_interpreter_in_a_place_of_another_kind_is_relabelled(name: str) -> None:
    stray: dict[str, Any] = {name: file("/srv/venv/bin/python", "var_t")}
    for fault in examine(scene(scripts=(replace(SCRIPT, **stray),))):
        assert "semanage fcontext -a -t bin_t /srv/venv/bin/python" in fault.fix
        assert "(allow" not in fault.fix


def test_a_file_without_a_label_is_one_fault_where_file_contexts_know_nothing_better() -> None:
    assert only(scene(scripts=(replace(UNLABELLED, expected=""),))).check == "labels"
