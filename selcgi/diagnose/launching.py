"""Checks over the questions of system/preflight.py: can each script start, run and be ended in each context?

Decides for each step how bad a no is and what it looks like to the user; and which of several noes is the cause: behind
a wrong label no vector is reported that the right label would be granted. Each step is a check of its own.
Listed in diagnose/doctor.py; asked for one launch by diagnose/explaining.py and diagnose/warmth.py.
"""

from collections.abc import Iterator
from dataclasses import replace

from selcgi.context import Context
from selcgi.diagnose.fault import Check, Fault, Severity, Work
from selcgi.diagnose.places import NO_LABEL
from selcgi.diagnose.scene import Scene, Scripts, label_of_type
from selcgi.system.preflight import (
    FOREIGN,
    SCRIPT_TYPE,
    Attempt,
    Question,
    Step,
    fix,
    questions,
    type_and_range,
    type_of,
)

_OF_CONTEXTS = (
    Step.SETEXEC, Step.NO_NEW_PRIVILEGES, Step.TRANSITION, Step.DESCRIPTORS, Step.PIPES, Step.WATCH, Step.LIMITS
)  # fmt: skip
_BEHIND_HEAD = frozenset({Step.INTERPRETER, Step.LOAD, Step.READ, Step.PROGRAM})  # need to know the first line
_FAILS = "every request of these rules gets 500"
_OUTCOMES: dict[Step, tuple[Severity, str]] = {
    Step.SETEXEC: ("fatal", "every request gets 500: the exec context cannot be set"),
    Step.OPEN: ("fatal", "requests for these scripts get 403 or 500: selcgi may not open or execute them"),
    Step.NO_NEW_PRIVILEGES: ("fatal", f"{_FAILS} under NoNewPrivileges=: the exec is refused (EPERM)"),
    Step.NOSUID: ("fatal", "these scripts get 500: their file system is mounted nosuid, and the exec is refused"),
    Step.TRANSITION: ("fatal", f"{_FAILS}: the exec is refused (EACCES)"),
    Step.ENTRYPOINT: ("fatal", "these scripts get 500 in this context: the exec is refused (EACCES)"),
    Step.INTERPRETER: ("fatal", "these scripts get 500: selcgi may not open their interpreter"),
    Step.LOAD: ("fatal", "these scripts die by SIGSEGV before their first line, without any output: 502"),
    Step.DESCRIPTORS: ("fatal", "scripts die by SIGSEGV before their first line, or run with empty input and output"),
    Step.PIPES: ("fatal", "scripts end with exit code 0 and an empty body: their output goes nowhere"),
    Step.WATCH: ("fatal", "every request gets 500, or its script cannot be ended at its deadline"),
    Step.LIMITS: ("warning", "the limits of a rule and the signal mask are reset before the first line"),
    Step.SEARCH: ("fatal", "these scripts are out of reach: 403, or their interpreter cannot open them"),
    Step.READ: ("fatal", "the interpreter cannot open the script: its own message, exit code 2, 502"),
    Step.PROGRAM: ("fatal", "env cannot start the interpreter: exit code 126, 502"),
}


def denied(scene: Scene, attempt: Attempt, step: Step) -> Iterator[Question]:
    """The questions of a step that are answered with no, those of one vector as one."""
    vectors: dict[tuple[str, str, str, str], list[Question]] = {}
    for each in questions(attempt):
        if each.step is step and not scene.allows(each.source, each.target, each.classname, each.permission):
            vectors.setdefault((each.source, each.target, each.classname, each.what), []).append(each)
    for several in vectors.values():
        yield replace(several[0], permission=" ".join(each.permission for each in several))


def fault(scene: Scene, attempt: Attempt, missing: Question, where: tuple[str, ...]) -> Fault:
    """With the one thing to do about it, from the whole policy where it can be read."""
    severity, symptom = _OUTCOMES[missing.step]
    vector = scene.policy.vector(missing.source, missing.target, missing.classname)
    permissions = tuple(missing.permission.split())
    return Fault(
        check=missing.step,
        severity=severity,
        what=f"{_types(missing)} is denied" if vector.known else f"{_types(missing)} is unknown to the policy",
        symptom=symptom,
        fix=remedy(scene, attempt, missing),
        where=where,
        silent=vector.silent.issuperset(permissions),
    )


def remedy(scene: Scene, attempt: Attempt, missing: Question) -> str:
    if not attempt.target.is_zygote and scene.is_foreign(attempt.target):
        return FOREIGN
    cause = scene.why(missing.source, missing.target, missing.classname, tuple(missing.permission.split()))
    if cause is not None and cause.kind != "rule" and cause.fix:
        return f"{cause.text}: {cause.fix}"
    return fix(attempt, missing, scene.allows)


def _types(missing: Question) -> str:
    return str(replace(missing, what=""))


def _of_contexts(step: Step) -> Work:
    def work(scene: Scene) -> Iterator[Fault]:
        for context, where in scene.usable:
            attempt = scene.attempt(context)
            for missing in denied(scene, attempt, step):
                yield fault(scene, attempt, missing, (where,))

    return work


def _of_scripts(step: Step) -> Work:
    def work(scene: Scene) -> Iterator[Fault]:
        for context, where in scene.usable:
            for scripts in scene.scripts:
                yield from _of_pair(scene, context, where, scripts, step)

    return work


def _of_pair(scene: Scene, context: Context, where: str, scripts: Scripts, step: Step) -> Iterator[Fault]:
    if step in _BEHIND_HEAD and not scripts.readable:
        return
    attempt = scene.attempt(context, scripts)
    may_enter = scene.allows(str(context), scripts.label, "file", "entrypoint")
    if step in _BEHIND_HEAD and not may_enter:  # it never comes so far
        return
    if step is Step.OPEN and _is_no_scripts(scene, scripts.label):  # entrypoint says so
        return
    for missing in denied(scene, attempt, step):
        if mislabelled(scene, scripts, missing) or not scripts.place.labels or _unlabelled(scripts, missing):
            continue
        if step is Step.SEARCH and not may_enter and missing.source == str(context):  # as above; selcgi walks before
            continue
        found = fault(scene, attempt, missing, (*scripts.paths, where))
        yield _of_another(scene, context, scripts, found) if step is Step.ENTRYPOINT else found


def _unlabelled(scripts: Scripts, missing: Question) -> bool:
    """Whether the script has no label to speak of: that is a fault of its own, of the check `labels`."""
    return missing.what in scripts.paths and (not scripts.label or type_of(scripts.label) in NO_LABEL)


def mislabelled(scene: Scene, scripts: Scripts, missing: Question) -> bool:
    """Whether a file's label is not what its place should have, and the right one would be granted."""
    files = [one for one in (scripts.interpreter, scripts.program, *scripts.folders) if one is not None]
    expected = {one.label: one.expected for one in files if one.path == missing.what}
    if missing.what in scripts.paths:
        expected[scripts.label] = scripts.expected
    right = expected.get(missing.target, "")
    if not right or type_and_range(right) == type_and_range(missing.target):
        return False
    return scene.allows(missing.source, right, missing.classname, missing.permission)


def _is_no_scripts(scene: Scene, label: str) -> bool:
    """Whether no context of the mapping may be entered by such a file, and it has not the type that is meant for it."""
    entered = any(scene.allows(str(context), label, "file", "entrypoint") for context, _ in scene.usable)
    return not entered and type_of(label) != SCRIPT_TYPE


def _of_another(scene: Scene, context: Context, scripts: Scripts, found: Fault) -> Fault:
    """Scripts of one application and the contexts of another are kept apart on purpose, whether those of the other are
    in sight or not; a context that no script may enter is a fault. A label that is nobody's is one, not many."""
    if _is_no_scripts(scene, scripts.label):
        what = f"no context of the mapping may be entered by a file of the type {type_of(scripts.label)}"
        return replace(found, what=what, symptom="these scripts get 403 or 500: their label is not that of a script")
    entered = any(scene.allows(str(other), scripts.label, "file", "entrypoint") for other, _ in scene.usable)
    if not entered:
        return found
    if any(scene.allows(str(context), label, "file", "entrypoint") for label in scene.script_labels):
        symptom = "these scripts are another application's: in this context they get 500"
        return replace(found, severity="note", symptom=symptom, fix="none is needed, if it is meant so")
    if scene.allows(str(context), label_of_type(scene.launcher.context, SCRIPT_TYPE), "file", "entrypoint"):
        symptom = "no script that was looked at runs in this context: these get 500"
        return replace(found, severity="note", symptom=symptom, fix="name every --root that selcgi serve has")
    return found


CONTEXT_CHECKS = tuple(Check(step, _of_contexts(step), cheap=True) for step in _OF_CONTEXTS)
SCRIPT_CHECKS = tuple(Check(step, _of_scripts(step), cheap=False) for step in Step if step not in _OF_CONTEXTS)
