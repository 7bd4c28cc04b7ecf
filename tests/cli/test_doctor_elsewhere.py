"""`selcgi doctor --policy`: a mapping and its scripts are judged on a machine without SELinux, by the shipped policy.

One mistake of each kind is planted; the row that names it, and its fix, must be there.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selcgi.cli.doctor import doctor
from selcgi.cli.main import cli
from selcgi.errors import PolicyUnreadable, StartRefused
from tests.enforcing import site
from tests.guest import policy

pytestmark = pytest.mark.guest

SCRIPTS = {"plain.cgi": "#!/bin/sh\necho\n", "env.cgi": "#!/usr/bin/env python3\n", "perl.cgi": "#!/usr/bin/perl\n"}
OWN = "* user_webapp_t:s0:c{user}"
# mapping, further options -> the row, and words of its fix
MISTAKES = {
    "unknown type": ("a no_such_t:s0", (), "context", "load the module that declares it"),
    "invalid range": ("a user_webapp_t:s0:c1024", (), "context", "semanage user -l"),
    "selcgi's own domain": ("a selcgi_t:s0", (), "own-domain", "name the domain of a web application"),
    "permissive domain": ("a plant_middle_t:s0", (), "permissive-domain", "semanage permissive -d plant_middle_t"),
    "no domain for scripts": ("a ping_t:s0", (), "foreign-domain", "selcgi policy new NAME"),
    "one that nothing confines": ("a unconfined_t:s0", (), "foreign-domain", "no allow rules for this one"),
    "a user's": ("a staff_u:staff_r:staff_t:s0", (), "foreign-domain", "name the domain of a web application"),
    "boolean": ("a plant_late_t:s0", (), "transition", "setsebool -P plant_launch on"),
    "constraint": ("a unconfined_u:unconfined_r:user_webapp_t:s0", (), "transition", "leave user and role out"),
    "wide range": ("a user_webapp_t:s0-s0:c1", (), "new-files", "give the rule the single level s0:c1"),
    "no rule at all": ("# nobody yet", (), "nobody", "add a rule"),
    "rules that deny": ("* deny", (), "nobody", "add a rule"),
    "categories of anybody": (f"a user_webapp_t:s0:c600\n{OWN}", (), "category-bands", "others than c512.c1023 and"),
    "of other bands": (f"a user_webapp_t:s0:c7\n{OWN}", ("--user-categories", "c0.c9"), "category-bands", "than c0.c9"),
    "of requests": ("a user_webapp_t:s0:c7\n* user_webapp_t:s0:c{user},c{request}", ("--request-categories", "c0.c9"),
                    "category-bands", "c512.c1023 and c0.c9"),
    "bands that the policy lacks": (OWN, ("--user-categories", "c1020.c1030"), "context", "semanage user -l"),
    "dead rule": ("* user_webapp_t:s0\na deny", (), "dead-rule", "move it up"),
    "label of the scripts": ("a user_webapp_t:s0", ("--root", "/srv/other"), "entrypoint",
                             "semanage fcontext -a -t selcgi_script_exec_t /srv/other/plain.cgi"),
    "socket": ("a user_webapp_t:s0", ("--listen", "unix:/etc/selcgi/s.sock"), "web-server", "listen beneath /run"),
    "socket among data": ("a user_webapp_t:s0", ("--listen", "unix:/srv/s.sock"), "web-server", "/srv/s.sock is var_t"),
    "tcp": ("a user_webapp_t:s0", ("--listen", "tcp:127.0.0.1:9140,peer-net=127.0.0.1/32"), "tcp-listener",
            "setsebool -P selcgi_from_tcp on"),
    "proof": ("a user_webapp_t:s0", ("--listen", "unix:/run/selcgi/s,identity=proof:/home/x/proof"), "configuration",
              "put it into /etc/selcgi"),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As it will be on the other machine."""
    for folder in ("cgi", "other"):
        (tmp_path / "tree" / "srv" / folder).mkdir(parents=True)
        for name, text in SCRIPTS.items() if folder == "cgi" else [("plain.cgi", SCRIPTS["plain.cgi"])]:
            (tmp_path / "tree" / "srv" / folder / name).write_text(text)
            (tmp_path / "tree" / "srv" / folder / name).chmod(0o755)
    return tmp_path / "tree"


def run(tree: Path, mapping: str, *more: str, contexts: bool = True) -> Result:
    file = tree.parent / "site.map"
    file.write_text(mapping)
    options = ["--json", "--map", str(file), "--policy", str(policy.compiled() / "policy"), *more]
    if contexts:
        options += ["--file-contexts", str(policy.compiled() / "file_contexts"), "--prefix", str(tree)]
    return CliRunner().invoke(doctor, options)


def rows(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code in (0, 1), f"{done.output}{done.exception!r}"
    found: list[dict[str, Any]] = json.loads(done.output)["faults"]
    return [one for one in found if one["severity"] != "note"]


def test_nothing_is_wrong_with_the_demo(tree: Path) -> None:
    done = run(tree, site.rules())
    assert rows(done) == []
    assert done.exit_code == 0
    assert json.loads(done.output)["looked_at"] == {"contexts": 4, "scripts": 3}


def test_what_only_the_machine_can_say_is_said_to_be_left_out(tree: Path) -> None:
    notes = [one for one in json.loads(run(tree, site.rules()).output)["faults"] if one["check"] == "not-looked-at"]
    assert {"whether the kernel enforces", "the labels that files have there", "the programs"} == {
        one["what"].partition(",")[0] for one in notes
    }
    assert all(one["fix"] == "run selcgi doctor on the machine itself" for one in notes)


@pytest.mark.parametrize("name", MISTAKES)
def test_planted_mistake_is_named_with_its_fix(tree: Path, name: str) -> None:
    mapping, more, check, fix = MISTAKES[name]
    done = run(tree, f"{mapping}\n", *more)
    found = [one["fix"] for one in rows(done) if one["check"] == check]
    assert any(fix in one for one in found), done.output
    assert done.exit_code == 1


def test_categories_that_nobody_else_is_given_are_none_of_anybody(tree: Path) -> None:
    found = rows(run(tree, f"a user_webapp_t:s0:c7\nb user_webapp_t:s0-s0:c0.c1023\n{OWN}\n"))
    assert {one["check"] for one in found} == {"new-files"}, "who reads everything leaves files to all"
    assert rows(run(tree, f"a user_webapp_t:s0:c600\n{OWN}\n", "--user-categories", "c0.c99")) == []
    assert rows(run(tree, "a user_webapp_t:s0:c600\n")) == []


def test_bands_come_from_the_environment_too_and_are_apart(tree: Path) -> None:
    (tree.parent / "site.map").write_text(f"a user_webapp_t:s0:c7\n{OWN}\n")
    words = ["doctor", "--map", str(tree.parent / "site.map"), "--policy", str(policy.compiled() / "policy")]
    done = CliRunner().invoke(cli, words, env={"SELCGI_DOCTOR_USER_CATEGORIES": "c0.c9"})
    assert (done.exit_code, "fatal   category-bands: " in done.output) == (1, True), done.output
    done = run(tree, OWN, "--user-categories", "c0.c500")
    assert isinstance(done.exception, StartRefused)
    assert "overlap" in done.exception.reason


def test_a_constraint_is_not_answered_with_an_allow_rule(tree: Path) -> None:
    found = rows(run(tree, MISTAKES["constraint"][0]))
    assert found
    assert not any("(allow" in one["fix"] for one in found)


@pytest.mark.parametrize("context", ["unconfined_t:s0", "httpd_sys_script_t:s0:c1", "staff_u:staff_r:staff_t:s0"])
def test_a_domain_of_the_system_is_one_fault_and_is_to_be_granted_nothing(tree: Path, context: str) -> None:
    found = rows(run(tree, f"{site.rules()}dan {context}\n"))
    assert [one["check"] for one in found] == ["foreign-domain"]
    assert "(allow" not in found[0]["fix"]


def at(tree: Path, folder: str) -> list[dict[str, Any]]:
    """What is said of a script there, whose label is as the place says."""
    path = tree / folder / "plain.cgi"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPTS["plain.cgi"])
    path.chmod(0o755)
    return rows(run(tree, site.rules(), "--root", f"/{folder}"))


@pytest.mark.parametrize("folder", ["srv/other", "etc"])
def test_a_script_in_a_place_of_another_kind_is_to_be_relabelled_and_nothing_else(tree: Path, folder: str) -> None:
    """No rule would be right that makes a script of every file of such a place."""
    (fault,) = at(tree, folder)
    path = f"/{folder}/plain.cgi"
    command = f"semanage fcontext -a -t selcgi_script_exec_t {path}, then restorecon -F {path}"
    assert (fault["check"], fault["fix"]) == ("entrypoint", f"relabel the script: {command}")


def test_a_program_of_the_system_as_a_script_is_a_boolean_and_no_rule(tree: Path) -> None:
    found = at(tree, "usr/bin")
    assert {one["check"] for one in found} == {"entrypoint"}
    assert all(one["fix"].endswith("setsebool -P selcgi_webapp_run_programs on") for one in found)


def test_a_tree_that_is_not_there_is_a_fault(tree: Path) -> None:
    done = run(tree / "mistyped", site.rules())
    (fault,) = rows(done)
    assert (fault["check"], fault["where"]) == ("folders", [str(tree / "mistyped" / "srv" / "cgi")])
    assert done.exit_code == 1


def test_a_rule_behind_another_file_is_dead_and_one_long_file_is_compared(tree: Path) -> None:
    (tree.parent / "first.map").write_text("a user_webapp_t:s0:c1\n")
    done = run(tree, "a deny\n", "--map", str(tree.parent / "first.map"))
    assert [one["where"] for one in rows(done) if one["check"] == "dead-rule"] == [["first.map:1"]]
    lines = [f"user{number} user_webapp_t:s0:c{number % 9}" for number in range(700_000)]
    done = run(tree, "\n".join([*lines, "user7 deny\n"]))
    assert [one["where"] for one in rows(done) if one["check"] == "dead-rule"] == [["site.map:700001"]]


def test_without_file_contexts_contexts_alone_are_judged(tree: Path) -> None:
    done = run(tree, site.rules(), contexts=False)
    assert rows(done) == []
    assert json.loads(done.output)["looked_at"] == {"contexts": 4, "scripts": 0}


def test_options_that_mean_nothing_alone_are_refused(tree: Path) -> None:
    assert CliRunner().invoke(doctor, ["--prefix", str(tree)]).exit_code == 2
    assert CliRunner().invoke(doctor, ["--file-contexts", str(tree)]).exit_code == 2


@pytest.mark.parametrize("content", [b"no file contexts", b"\xff" * 4096])
def test_damaged_file_contexts_are_a_named_error(tree: Path, content: bytes) -> None:
    (tree.parent / "file_contexts").write_bytes(content)
    more = ("--file-contexts", str(tree.parent / "file_contexts"))
    done = run(tree, site.rules(), *more, contexts=False)
    assert isinstance(done.exception, PolicyUnreadable), done.output
    assert str(tree.parent / "file_contexts") in done.exception.reason


def test_missing_file_contexts_are_a_named_error(tree: Path) -> None:
    done = run(tree, site.rules(), "--file-contexts", "/nonexistent", contexts=False)
    assert isinstance(done.exception, PolicyUnreadable)
    assert "/nonexistent" in done.exception.reason
