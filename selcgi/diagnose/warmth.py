"""Checks of warm interpreters: can the zygote of each domain that needs one start, read the script, and move into it?

Decides how bad a no is: where a rule says warm= and nothing else is wanted, its requests fail; by --warm, or with a
fresh program to fall back on, something still works. Asks about zygotes that may never start. Listed in
diagnose/doctor.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from selcgi.context import Context
from selcgi.diagnose.fault import Fault, Severity, check
from selcgi.diagnose.launching import denied, fault, mislabelled
from selcgi.diagnose.scene import Scene
from selcgi.system.moving import move_questions
from selcgi.system.policy import what_is_invalid
from selcgi.system.preflight import ZYGOTE_TYPE, Step, type_of

_NONE = "scripts of this domain that are to run warm get 503, since no interpreter can be had for them"
_STAYS = "scripts of this domain that are to run warm get 500: their process stays where it was, and is ended"
_DECLARE = "(blockinherit selcgi_warm) in the application's module declares it; or leave warm= out"
_OF_PROGRAM = (Step.OPEN, Step.NOSUID, Step.ENTRYPOINT, Step.INTERPRETER, Step.LOAD)
_OF_START = (Step.NO_NEW_PRIVILEGES, Step.TRANSITION, Step.DESCRIPTORS, Step.PIPES, Step.WATCH, Step.LIMITS)


class _Warm(NamedTuple):
    """A context whose scripts run warm, or may; its zygote, and the place of its rule."""

    context: Context
    zygote: Context
    where: str
    severity: Severity


def _warm(scene: Scene, *, usable: bool = True) -> Iterator[_Warm]:
    """`usable`: only with zygotes that the policy has."""
    for context, where in scene.usable:
        sure = context.domain in scene.warmth.sure
        if not sure and context.domain not in scene.warmth.perhaps:
            continue
        try:
            zygote = context.zygote(scene.launcher.context)
        except ValueError:  # a rule with warm= is no rule then; of the others --warm takes none
            continue
        if not usable or scene.policy.canonical(str(zygote)) is not None:
            yield _Warm(context, zygote, where, "fatal" if sure else "warning")


@check("zygote", cheap=True)
def there(scene: Scene) -> Iterator[Fault]:
    for one in _warm(scene, usable=False):
        zygote = str(one.zygote)
        if scene.policy.canonical(zygote) is None:
            what, _ = what_is_invalid(scene.policy, scene.launcher.context, one.zygote)
            yield Fault("zygote", one.severity, what, _NONE, _DECLARE, (one.where,))
        elif scene.policy.vector(zygote, zygote, "process").permissive:
            what = f"the domain {one.zygote.domain} is permissive"
            yield Fault(
                "zygote", one.severity, what, _NONE, f"semanage permissive -d {one.zygote.domain}", (one.where,)
            )


@check("zygote-start", cheap=True)
def started(scene: Scene) -> Iterator[Fault]:
    for one in _warm(scene):
        attempt = scene.attempt(one.zygote)
        for step in _OF_START:
            for missing in denied(scene, attempt, step):
                found = fault(scene, attempt, missing, (one.where,))
                yield replace(found, check="zygote-start", severity=one.severity, symptom=_NONE)


@check("zygote-move", cheap=True)
def moved(scene: Scene) -> Iterator[Fault]:
    for one in _warm(scene):
        attempt = scene.attempt(one.context)
        if any(denied(scene, scene.attempt(one.zygote), Step.TRANSITION)):  # it never comes so far
            continue
        for missing in move_questions(one.zygote, attempt):
            granted = scene.allows(missing.source, missing.target, missing.classname, missing.permission)
            if granted or missing.source != str(one.zygote):  # what is asked of a fresh start, too, has its checks
                continue
            found = fault(scene, attempt, missing, (one.where,))
            yield replace(found, check="zygote-move", severity=one.severity, symptom=_STAYS)


@check("zygote-program")
def executed(scene: Scene) -> Iterator[Fault]:
    program = scene.warmth.program
    for one in _warm(scene):
        if program is None:
            if not scene.there:
                what, fix = "the program selcgi-zygote is not installed", "install selcgi whole: README.md says how"
                yield Fault("zygote-program", one.severity, what, _NONE, fix, (one.where,))
            continue
        attempt = scene.attempt(one.zygote, program)
        by_label = type_of(program.label) != ZYGOTE_TYPE and bool([*denied(scene, attempt, Step.ENTRYPOINT)])
        for missing in (each for step in _OF_PROGRAM for each in denied(scene, attempt, step)):
            if by_label and missing.step is not Step.ENTRYPOINT and missing.what in program.paths:  # one cause
                continue
            if not mislabelled(scene, program, missing):  # drift says so
                found = fault(scene, attempt, missing, (*program.paths, one.where))
                yield replace(found, check="zygote-program", severity=one.severity, symptom=_NONE)


@check("zygote-script")
def read(scene: Scene) -> Iterator[Fault]:
    """Of the Python scripts that the context may run at all."""
    for one in _warm(scene):
        for scripts in scene.scripts:
            by_python = scripts.interpreter is not None and "python" in scripts.interpreter.path
            if not by_python or not scene.allows(str(one.context), scripts.label, "file", "entrypoint"):
                continue
            attempt = scene.attempt(one.zygote, scripts)
            for missing in denied(scene, attempt, Step.READ):
                found = fault(scene, attempt, missing, (*scripts.paths, one.where))
                rule = f"relabel, or: (call selcgi_zygote_reads ({one.zygote.domain} {type_of(scripts.label)}))"
                yield replace(found, check="zygote-script", severity=one.severity, symptom=_NONE, fix=rule)
