"""`selcgi explain`: every permission that one script needs in one context, in the kernel's order, with yes or no.

Decides nothing and starts nothing: opening.py finds the script as a request would, the questions are
system/preflight.py's, the reasons launching.py's.
Called by cli/explain.py.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from selcgi.context import Context, ContextSpec
from selcgi.diagnose.launching import fault
from selcgi.diagnose.opening import Found, find
from selcgi.diagnose.scene import Resolved, Scene, Scripts, resolve
from selcgi.diagnose.survey import Survey
from selcgi.errors import Denied, IdentityNotProven
from selcgi.mapping.categories import sample
from selcgi.mapping.chain import Chain
from selcgi.mapping.owned import check_categories
from selcgi.mapping.table import Query, Verdict
from selcgi.mapping.warmth import warmth
from selcgi.plan import Account, Warm
from selcgi.settings import WarmSettings
from selcgi.system.accounts import own_account, unusable
from selcgi.system.identity import prove_told
from selcgi.system.labelling import Labelling
from selcgi.system.moving import move_questions
from selcgi.system.policy import what_is_invalid
from selcgi.system.preflight import Attempt, Question, Step, questions

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
_SCRIPT, _FOUND = "script", "selcgi finds the script, and may run it"
_NO_ZYGOTE = "no warm interpreter can start: 503, or a fresh program with --warm-fallback"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the files are: their labels, the roots, PATH of scripts; which scripts run warm, and the program that does
    it, empty where there is none. `account` is the service's: what it may do by owners and modes is asked."""

    labelling: Labelling
    roots: tuple[Path, ...]
    search_path: str
    warm: WarmSettings = field(default_factory=WarmSettings)
    program: str = ""
    account: Account = field(default_factory=own_account)


@dataclass(frozen=True, slots=True)
class Answer:
    """`question` as the policy would write it, or the path of the script; `why` and `fix` are of a no."""

    step: str
    purpose: str
    question: str
    yes: bool
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """All of it. `refused` is what keeps the request from coming so far that a permission matters. `warm`: as what it
    runs in a fork of a warm interpreter, empty for a fresh program; `zygote`: that one's context and program. `service`
    is the account for which owners and modes were judged."""

    rule: str = ""
    context: str = ""
    script: str = ""
    label: str = ""
    interpreter: str = ""
    warm: str = ""
    zygote: str = ""
    service: str = ""
    refused: str = ""
    answers: tuple[Answer, ...] = ()

    @property
    def yes(self) -> bool:
        return not self.refused and all(answer.yes for answer in self.answers)


def explain_request(scene: Scene, chain: Chain, query: Query, machine: Machine) -> Told:
    """From the script and the mapping to the last permission; it ends where the request would, but for a script that
    may not run: the other questions can be asked all the same."""
    found = find(query.script, machine.roots, machine.labelling, machine.account)
    try:
        prove_told(query.told, query.user)
        verdict = chain.decide(query._replace(script=found.path))
        check_categories(verdict, query.user, chain.given(scene.bands))
    except (Denied, IdentityNotProven) as error:
        rule = error.rule if isinstance(error, Denied) else ""
        return Told(rule=rule, script=found.path, refused=str(error))
    own = scene.launcher.context
    (mapped,) = resolve(scene.policy, own, ((sample(verdict.spec, scene.bands), verdict.where),))
    told = Told(
        rule=verdict.where,
        context=_shown(mapped, verdict.spec),
        script=found.path,
        service=f"{machine.account.name}: owners and modes are judged for this user",
    )
    if mapped.canonical is None:
        return replace(told, refused="; ".join(what_is_invalid(scene.policy, own, mapped.wanted)))
    told = replace(told, answers=(_of_script(query.script, found), *_of_account(verdict)))
    scripts = Survey(machine.labelling, machine.search_path).script(found.path, whatever_mode=True)
    warm = warmth(verdict, found.path, machine.warm)
    if scripts is not None:
        interpreter = scripts.interpreter
        told = replace(
            told,
            label=scripts.label or "(none, or it cannot be read)",
            interpreter=f"{interpreter.path} ({interpreter.label})" if interpreter else "",
        )
    if warm is not None:
        told = replace(told, warm=_as_what(warm))
        return told if scripts is None else _warm(scene, told, (mapped.canonical, scripts), machine)
    return replace(told, answers=(*told.answers, *explain(scene, scene.attempt(mapped.canonical, scripts))))


def _of_script(asked: str, found: Found) -> Answer:
    question = asked if asked == found.path else f"{asked} -> {found.path}"
    return Answer(_SCRIPT, _FOUND, question, not found.why, found.why, found.fix)


def _of_account(verdict: Verdict) -> Iterator[Answer]:
    """Where the rule has a uid=."""
    if verdict.account:
        why, fix = next(
            ((f"500: {error.reason}", error.fix) for _, error in unusable([(verdict.account, "")])), ("", "")
        )
        yield Answer("account", "the rule's account is there, and not root", verdict.account, not why, why, fix)


def _as_what(warm: Warm) -> str:
    return f"the WSGI application {warm.application}" if warm.application else "a CGI script"


def _warm(scene: Scene, told: Told, what: tuple[Context, Scripts], machine: Machine) -> Told:
    """How it goes on in a warm interpreter: that one starts, and a fork of it moves into the context."""
    own, (context, scripts) = scene.launcher.context, what
    try:
        zygote = context.zygote(own)
    except ValueError as error:
        return replace(told, refused=f"{error}; {_NO_ZYGOTE}")
    told = replace(told, zygote=f"{zygote}, from {machine.program or 'no program'}")
    if scene.policy.canonical(str(zygote)) is None:
        why = "; ".join(what_is_invalid(scene.policy, own, zygote))
        return replace(told, refused=f"{why}; contrib/selinux/README.md says how a domain gets its warm interpreter")
    program = Survey(machine.labelling, machine.search_path).script(machine.program)
    if program is None:
        return replace(told, refused=f"{machine.program or 'selcgi-zygote'} is not there; {_NO_ZYGOTE}")
    if other := _other_interpreter(scripts, program):
        return replace(told, refused=f"{other}; {_NO_ZYGOTE}")
    start, attempt = scene.attempt(zygote, program), scene.attempt(context, scripts)
    answers = [
        replace(each, purpose=f"zygote: {each.purpose}", why="" if each.yes else _NO_ZYGOTE)
        for each in explain(scene, start)
    ]
    answers += explain(scene, attempt, tuple(move_questions(zygote, attempt)))
    return replace(told, answers=(*told.answers, *answers))


def _other_interpreter(scripts: Scripts, program: Scripts) -> str:
    """Why an interpreter that runs `program` can't stand for that of `scripts`; empty when it can."""
    wanted, own = scripts.program or scripts.interpreter, program.interpreter
    if wanted is None or own is None or os.path.realpath(wanted.path) == os.path.realpath(own.path):
        return ""
    return f"its interpreter is {wanted.path}, and {program.paths[0]} is run by {own.path}"


def _shown(mapped: Resolved, spec: ContextSpec) -> str:
    template = spec.range or ""
    return f"{mapped.canonical or mapped.wanted}" + (f", by way of example for {template}" if "{" in template else "")


def explain(scene: Scene, attempt: Attempt, asked: Iterable[Question] = ()) -> Iterator[Answer]:
    """One answer for each vector that is asked about, or two when it is granted in part. `asked`: all of a launch."""
    for _, alike in groupby(asked or questions(attempt), lambda one: replace(one, permission="")):
        found = tuple(alike)
        granted = [one for one in found if scene.allows(one.source, one.target, one.classname, one.permission)]
        if granted:
            yield _answer(_joined(granted), yes=True)
        if missing := [one for one in found if one not in granted]:
            question = _joined(missing)
            lack = fault(scene, attempt, question, ())
            yield replace(_answer(question, yes=False), why=lack.symptom, fix=lack.fix)


def _answer(question: Question, *, yes: bool) -> Answer:
    return Answer(question.step, _PURPOSE[question.step], str(question), yes)


def _joined(several: list[Question]) -> Question:
    return replace(several[0], permission=" ".join(each.permission for each in several))
