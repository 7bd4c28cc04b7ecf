"""Checks of each context that the mapping gives, by itself, and of the mapping's own lines.

Decides what makes a context useless or harmful before any script is looked at: it is invalid, selcgi's own, or of a
permissive domain; a lost one would not be stopped. Listed in diagnose/doctor.py.
"""

from collections.abc import Iterator

from selcgi.diagnose.fault import Fault, check
from selcgi.diagnose.scene import Scene
from selcgi.mapping.categories import REQUEST, USER
from selcgi.system.policy import what_is_invalid
from selcgi.system.preflight import FOREIGN, type_of


@check("context", cheap=True)
def valid(scene: Scene) -> Iterator[Fault]:
    for one in scene.mapped:
        if one.canonical is None and one.wanted.domain != scene.launcher.context.domain:
            what, fix = what_is_invalid(scene.policy, scene.launcher.context, one.wanted)
            yield Fault("context", "fatal", what, "every request of this rule gets 500", fix, (one.where,))


@check("own-domain", cheap=True)
def not_own(scene: Scene) -> Iterator[Fault]:
    own = scene.launcher.context.domain
    for one in scene.mapped:
        if one.wanted.domain == own:
            what = f"the rule gives scripts selcgi's own domain {own}"
            symptom = "every request of this rule gets 500; without that check scripts would run as selcgi"
            yield Fault("own-domain", "fatal", what, symptom, "name the domain of a web application", (one.where,))


@check("foreign-domain", cheap=True)
def of_scripts(scene: Scene) -> Iterator[Fault]:
    for context, where in scene.known:
        if scene.is_foreign(context):
            what = f"{context.domain} is no domain for scripts: selcgi may neither enter nor end it"
            yield Fault("foreign-domain", "fatal", what, "every request of this rule gets 500", FOREIGN, (where,))


@check("permissive-domain", cheap=True)
def enforced(scene: Scene) -> Iterator[Fault]:
    for context, where in scene.known:
        if scene.policy.vector(str(context), str(context), "process").permissive:
            what = f"the domain {context.domain} is permissive"
            symptom = "every request of this rule gets 500, since nothing would confine its script"
            fix = f"semanage permissive -d {context.domain}"
            yield Fault("permissive-domain", "fatal", what, symptom, fix, (where,))


@check("secure-mode", cheap=True)
def secure_mode(scene: Scene) -> Iterator[Fault]:
    own = str(scene.launcher.context)
    for context, where in scene.usable:
        if scene.allows(own, str(context), "process", "noatsecure"):
            what = f"{type_of(own)} -> {context.domain} : process {{ noatsecure }} is granted"
            symptom = "the loader of scripts honours LD_PRELOAD and its kin"
            fix = f"take the rule away: sesearch -A -s {type_of(own)} -t {context.domain} -c process -p noatsecure"
            yield Fault("secure-mode", "warning", what, symptom, fix, (where,))


@check("lost-context", cheap=True)
def lost_context(scene: Scene) -> Iterator[Fault]:
    """A launch that lost its exec context must get EACCES from the kernel, not run as selcgi or by a default."""
    own = scene.launcher.context
    for label in scene.script_labels:
        name = type_of(label)
        become = scene.policy.created(str(own), label, "process")
        if become and become != str(own):
            what = f"{own.domain} changes to {type_of(become)} by itself when it executes {name}"
            yield _lost(what, f"take the rule away: sesearch -T -s {own.domain} -t {name} -c process")
        if scene.allows(str(own), label, "file", "execute_no_trans"):
            what = f"{own.domain} -> {name} : file {{ execute_no_trans }} is granted"
            yield _lost(what, f"take the rule away: sesearch -A -s {own.domain} -t {name} -c file -p execute_no_trans")


def _lost(what: str, fix: str) -> Fault:
    return Fault("lost-context", "fatal", what, "a script whose context was lost would run, and not be stopped", fix)


@check("nobody")
def somebody(scene: Scene) -> Iterator[Fault]:
    if not scene.mapped:
        what = "the mapping gives nobody a context: it has no rules, or only such that deny"
        yield Fault("nobody", "warning", what, "every request is answered with 403", "add a rule, see selcgi.map(5)")


@check("account")
def runs_as(scene: Scene) -> Iterator[Fault]:
    for where, error in scene.accounts:
        yield Fault("account", "fatal", error.reason, "every request of this rule gets 500", error.fix, (where,))


@check("dead-rule")
def reached(scene: Scene) -> Iterator[Fault]:
    for where in scene.dead:
        what = "no request reaches this rule: an earlier one has all its users"
        symptom = "its users get the context of the earlier rule"
        yield Fault("dead-rule", "warning", what, symptom, "move it up, or take it away", (where,))


@check("category-bands")
def disjoint(scene: Scene) -> Iterator[Fault]:
    """Of a directory's answers nothing is known before a request."""
    bands = scene.bands
    for where in scene.clashes:
        what = f"the rule names categories that {USER} or {REQUEST} give to somebody ({bands.user}, {bands.request})"
        fix = f"{bands.others}; or give it other bands: --user-categories, --request-categories"
        yield Fault("category-bands", "fatal", what, "selcgi does not start, or does not reload", fix, (where,))


@check("not-looked-at")
def complete(scene: Scene) -> Iterator[Fault]:
    symptom = "what is wrong there is not found"
    for what in scene.omitted:
        yield Fault("not-looked-at", "note", what, symptom, "ask about a part of it")
    for what in scene.there:
        yield Fault("not-looked-at", "note", what, symptom, "run selcgi doctor on the machine itself")
