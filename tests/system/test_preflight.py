"""The permission that an exec lacked is named, one at a time, with one thing to do about it."""

from dataclasses import replace

import pytest

from selcgi.context import Context
from selcgi.system.preflight import AFTER_EXEC, Attempt, Question, Step, first_missing, fix, questions

OWN = Context("system_u", "system_r", "selcgi_t", "s0")
TARGET = Context("system_u", "system_r", "user_webapp_t", "s0:c1")
SCRIPT = "system_u:object_r:selcgi_script_exec_t:s0"
SHELL = "system_u:object_r:shell_exec_t:s0"
BIN = "system_u:object_r:bin_t:s0"
ATTEMPT = Attempt(
    OWN,
    TARGET,
    "/srv/a.cgi",
    SCRIPT,
    "/bin/sh",
    SHELL,
    no_new_privileges=True,
    nosuid=True,
    folders=(("/srv", "system_u:object_r:var_t:s0"),),
    program="/usr/bin/perl",
    program_label=BIN,
)
EXEC = [each for each in questions(ATTEMPT) if each.step not in AFTER_EXEC]


def all_but(*missing: Question) -> set[tuple[str, str, str, str]]:
    return {vector(each) for each in questions(ATTEMPT)} - {vector(each) for each in missing}


def vector(each: Question) -> tuple[str, str, str, str]:
    return each.source, each.target, each.classname, each.permission


def ask(granted: set[tuple[str, str, str, str]], attempt: Attempt = ATTEMPT) -> Question | None:
    return first_missing(attempt, lambda *question: question in granted)


def test_nothing_is_missing_when_all_is_granted() -> None:
    assert ask(all_but()) is None


def test_every_step_is_asked_about() -> None:
    assert {each.step for each in questions(ATTEMPT)} == set(Step)


@pytest.mark.parametrize("each", EXEC, ids=str)
def test_each_permission_is_missed(each: Question) -> None:
    found = ask(all_but(each))
    assert found == each


@pytest.mark.parametrize("each", [each for each in questions(ATTEMPT) if each not in EXEC], ids=str)
def test_what_the_running_script_needs_is_not_why_an_exec_failed(each: Question) -> None:
    assert ask(all_but(each)) is None


def test_it_is_named_as_the_policy_names_it() -> None:
    found = ask(all_but(Question(Step.TRANSITION, str(OWN), str(TARGET), "process", "transition")))
    assert str(found) == "selcgi_t -> user_webapp_t : process { transition }"
    assert found is not None
    assert found.rule == "(allow selcgi_t user_webapp_t (process (transition)))"


def test_the_first_that_the_kernel_asks_is_named_first() -> None:
    found = ask(set())
    assert str(found) == "selcgi_t -> selcgi_t : process { setexec }"


@pytest.mark.parametrize(
    ("attempt", "absent"),
    [
        (replace(ATTEMPT, no_new_privileges=False), "nnp_transition"),
        (replace(ATTEMPT, nosuid=False), "nosuid_transition"),
        (replace(ATTEMPT, interpreter="", interpreter_label=""), "shell_exec_t"),
    ],
)
def test_what_does_not_apply_is_not_asked(attempt: Attempt, absent: str) -> None:
    assert absent not in " ".join(map(str, questions(attempt)))
    assert absent in " ".join(map(str, questions(ATTEMPT)))


def test_a_binary_is_mapped_itself() -> None:
    asked = [str(each) for each in questions(replace(ATTEMPT, interpreter="", interpreter_label=""))]
    assert "user_webapp_t -> selcgi_script_exec_t : file { map } (/srv/a.cgi)" in asked


def test_a_file_without_label_is_missed_and_shown() -> None:
    found = ask(all_but(), replace(ATTEMPT, label=""))
    assert str(found) == "selcgi_t -> (no label) : file { execute } (/srv/a.cgi)"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (
            Question(Step.ENTRYPOINT, str(TARGET), BIN, "file", "entrypoint", "/srv/a.cgi"),
            "semanage fcontext -a -t selcgi_script_exec_t",
        ),
        (Question(Step.LOAD, str(TARGET), SHELL, "file", "map", "/bin/sh"), "semanage fcontext -a -t bin_t /bin/sh"),
        (Question(Step.TRANSITION, str(OWN), str(TARGET), "process", "transition"), "selcgi policy new NAME"),
        (Question(Step.SETEXEC, str(OWN), str(OWN), "process", "setexec"), "(allow selcgi_t self (process (setexec)))"),
    ],
)
def test_fix_says_what_to_do(missing: Question, words: str) -> None:
    assert words in fix(ATTEMPT, missing, lambda *_: False)


def test_a_rule_is_offered_for_a_domain_that_was_made_for_scripts_alone() -> None:
    """Where selcgi may do nothing with it, it is one of the system's, and no rule would be the first of many."""
    missing = Question(Step.TRANSITION, str(OWN), str(TARGET), "process", "transition")
    fixed = fix(ATTEMPT, missing, lambda *asked: asked[3] == "sigkill")
    assert "(allow selcgi_t user_webapp_t (process (transition)))" in fixed


@pytest.mark.parametrize("label", ["system_u:object_r:var_t:s0", ""])
@pytest.mark.parametrize("step", [Step.OPEN, Step.ENTRYPOINT, Step.LOAD, Step.READ])
def test_a_script_whose_type_is_no_scripts_is_relabelled(step: Step, label: str) -> None:
    attempt = replace(ATTEMPT, label=label, interpreter="", program="")
    source = OWN if step is Step.OPEN else TARGET
    found = fix(attempt, Question(step, str(source), label, "file", "read", ATTEMPT.path), lambda *_: False)
    assert (
        found
        == "relabel the script: semanage fcontext -a -t selcgi_script_exec_t /srv/a.cgi, then restorecon -F /srv/a.cgi"
    )


def test_a_script_of_an_application_that_may_be_entered_keeps_its_type() -> None:
    missing = Question(Step.OPEN, str(OWN), "system_u:object_r:shop_t:s0", "file", "open", ATTEMPT.path)
    found = fix(ATTEMPT, missing, lambda *question: question[3] == "entrypoint" and question[0] == str(TARGET))
    assert "semanage" not in found
    assert missing.rule in found


def test_a_range_that_a_constraint_refuses_is_not_answered_with_an_allow() -> None:
    missing = Question(Step.TRANSITION, str(OWN), str(TARGET), "process", "transition")
    lower = (str(OWN), str(replace(TARGET, range="s0")), "process", "transition")
    found = fix(ATTEMPT, missing, lambda *question: question == lower)
    assert "s0:c1" in found
    assert "allow" not in found


def test_an_identity_that_a_constraint_refuses_is_not_answered_with_an_allow() -> None:
    other = replace(TARGET, user="staff_u", role="staff_r")
    missing = Question(Step.TRANSITION, str(OWN), str(other), "process", "transition")
    found = fix(replace(ATTEMPT, target=other), missing, lambda *question: question[1] == str(TARGET))
    assert "staff_u:staff_r" in found
    assert "(allow" not in found


@pytest.mark.parametrize("step", [Step.ENTRYPOINT, Step.READ])
def test_a_range_of_the_script_that_a_constraint_refuses_is_not_answered_with_an_allow(step: Step) -> None:
    missing = Question(step, str(TARGET), f"{SCRIPT}:c3", "file", "read", ATTEMPT.path)
    found = fix(ATTEMPT, missing, lambda *question: question[1] == f"{SCRIPT}:c1")
    assert "the range s0:c3 of /srv/a.cgi may not" in found
    assert "(allow" not in found


def test_without_a_script_nothing_is_asked_about_one() -> None:
    asked = {each.step for each in questions(Attempt(OWN, TARGET))}
    assert asked == {Step.SETEXEC, Step.TRANSITION, Step.DESCRIPTORS, Step.PIPES, Step.WATCH, Step.LIMITS}


def test_the_label_that_the_pipes_really_have_is_asked_about() -> None:
    wide = "system_u:system_r:selcgi_t:s0-s0:c0.c1023"
    pipes = [each for each in questions(replace(ATTEMPT, pipe=wide)) if each.step is Step.PIPES]
    assert {each.target for each in pipes} == {wide}


def test_a_rule_about_a_domain_itself_says_self() -> None:
    assert (
        Question(Step.SETEXEC, str(OWN), str(OWN), "process", "setexec").rule
        == "(allow selcgi_t self (process (setexec)))"
    )
