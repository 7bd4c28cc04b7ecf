"""`selcgi explain`: every permission that one script needs in one context, in the kernel's order, with yes or no.

Decides nothing and starts nothing: the questions are system/preflight.py's, the reasons launching.py's.
Called by cli/explain.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from selcgi.context import Context, ContextSpec
from selcgi.diagnose.launching import denied, fault
from selcgi.diagnose.scene import Mapped, Scene, Scripts, resolve
from selcgi.diagnose.survey import Survey
from selcgi.errors import Denied
from selcgi.mapping.categories import USER, sample, wants
from selcgi.mapping.chain import Chain
from selcgi.mapping.table import Query
from selcgi.system.labelling import Labelling
from selcgi.system.policy import what_is_invalid
from selcgi.system.preflight import Question, Step, questions

_PURPOSE = {
    Step.SETEXEC: "selcgi names the context of the next exec",
    Step.OPEN: "selcgi opens and executes the script",
    Step.NO_NEW_PRIVILEGES: "it may change its context under NoNewPrivileges=",
    Step.NOSUID: "it may change its context on a nosuid mount",
    Step.TRANSITION: "the process enters the context",
    Step.ENTRYPOINT: "the context may be entered by this file",
    Step.INTERPRETER: "selcgi opens the interpreter",
    Step.LOAD: "the interpreter is mapped in the new context",
    Step.DESCRIPTORS: "the script keeps the descriptors that it is given",
    Step.PIPES: "it reads its input, and writes its output",
    Step.WATCH: "selcgi reads its context back, and can end it",
    Step.LIMITS: "limits and signal mask stay as they were set",
    Step.SEARCH: "both get to the script",
    Step.READ: "the interpreter reads the script",
    Step.PROGRAM: "env starts the interpreter",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`question` as the policy would write it; `why` and `fix` are of a no."""

    step: str
    purpose: str
    question: str
    yes: bool
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """All of it. `refused` is what keeps the request from coming so far that a permission matters."""

    rule: str = ""
    context: str = ""
    script: str = ""
    label: str = ""
    interpreter: str = ""
    refused: str = ""
    answers: tuple[Answer, ...] = ()

    @property
    def yes(self) -> bool:
        return not self.refused and all(answer.yes for answer in self.answers)


def explain_request(scene: Scene, chain: Chain, query: Query, labelling: Labelling, search_path: str) -> Told:
    """From the mapping to the last permission; it ends where the request would."""
    try:
        verdict = chain.decide(query)
    except Denied as error:
        return Told(rule=error.rule, script=query.script, refused=str(error))
    own = scene.launcher.context
    (mapped,) = resolve(scene.policy, own, ((sample(verdict.spec), verdict.where),))
    told = Told(rule=verdict.where, context=_shown(mapped, verdict.spec), script=query.script)
    if query.user is None and wants(verdict.spec, USER):
        return replace(told, refused=f"rule {verdict.where} has {USER}, and the request has no user")
    if mapped.canonical is None:
        return replace(told, refused="; ".join(what_is_invalid(scene.policy, own, mapped.wanted)))
    scripts = Survey(labelling, search_path).script(query.script)
    if scripts is None:
        return replace(
            told, refused=f"{query.script} is no regular file that may be executed; chmod a+x, or look for it"
        )
    interpreter = scripts.interpreter
    return replace(
        told,
        label=scripts.label or "(none, or it cannot be read)",
        interpreter=f"{interpreter.path} ({interpreter.label})" if interpreter else "",
        answers=tuple(explain(scene, mapped.canonical, scripts)),
    )


def _shown(mapped: Mapped, spec: ContextSpec) -> str:
    template = spec.range or ""
    return f"{mapped.canonical or mapped.wanted}" + (f", by way of example for {template}" if "{" in template else "")


def explain(scene: Scene, context: Context, scripts: Scripts) -> Iterator[Answer]:
    """One answer for each vector that is asked about, or two when it is granted in part."""
    attempt = scene.attempt(context, scripts)
    for step, several in groupby(questions(attempt), lambda each: each.step):
        refused = {(one.source, one.target, one.classname, one.what): one for one in denied(scene, attempt, step)}
        for key, alike in groupby(several, lambda each: (each.source, each.target, each.classname, each.what)):
            missing = refused.get(key)
            words = set(missing.permission.split()) if missing else set()
            granted = [each for each in alike if each.permission not in words]
            if granted:
                yield Answer(step, _PURPOSE[step], str(_joined(granted)), yes=True)
            if missing:
                found = fault(scene, attempt, missing, ())
                yield Answer(step, _PURPOSE[step], str(missing), False, found.symptom, found.fix)


def _joined(several: list[Question]) -> Question:
    return replace(several[0], permission=" ".join(each.permission for each in several))
