"""Checks of what no context of the mapping may do: to selcgi, to what it believes, to the policy, to one another.

Decides that a granted permission is the fault here, unlike in launching.py. Users of one domain are asked about by
their categories, whether they mean anything at all. By direct rules only: chains of transitions are audit-map's.
Listed in diagnose/doctor.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations

from selcgi.context import Context, categories
from selcgi.diagnose.fault import Fault, check
from selcgi.diagnose.scene import Scene, label_of_type
from selcgi.system.preflight import SCRIPT_TYPE, range_of, type_of

_TO_PROCESSES = ("ptrace", "signal", "sigkill", "sigstop", "transition", "dyntransition")
_TO_FILES = ("write", "append", "unlink", "rename", "setattr", "relabelfrom")
_TO_POLICY = ("load_policy", "setenforce", "setbool", "setsecparam")
_PLACE = "tmp_t"  # any folder at selcgi's level will do: what counts is the level of what is made in it
_TYPES_MOST = (
    96  # domains that are asked about one another: 0.8 s by a policy file, and ten times that for twice as many
)


def _granted(scene: Scene, source: Context, target: str, classname: str, wanted: tuple[str, ...]) -> str:
    """Those of `wanted` that are allowed, a word each."""
    allowed = scene.policy.vector(str(source), target, classname).allowed
    return " ".join(one for one in wanted if one in allowed)


def _too_much(name: str, source: Context, target: str, granted: tuple[str, str], symptom: str, where: str) -> Fault:  # noqa: PLR0913 - a vector
    """`granted`: the class and its permissions."""
    classname, words = granted
    what = f"{source.domain} -> {type_of(target)} : {classname} {{ {words} }} is granted"
    search = f"sesearch -A -s {source.domain} -t {type_of(target)} -c {classname} -p {','.join(words.split())}"
    return Fault(name, "fatal", what, symptom, f"take the rule away: {search}", (where,))


@check("reaches-selcgi", cheap=True)
def not_selcgi(scene: Scene) -> Iterator[Fault]:
    own = str(scene.launcher.context)
    for context, where in scene.usable:
        for classname, wanted in (("process", _TO_PROCESSES), ("unix_stream_socket", ("connectto",))):
            if words := _granted(scene, context, own, classname, wanted):
                symptom = "a script can stop selcgi, or act as it"
                yield _too_much("reaches-selcgi", context, own, (classname, words), symptom, where)


@check("reaches-policy", cheap=True)
def not_policy(scene: Scene) -> Iterator[Fault]:
    security = label_of_type(scene.launcher.context, "security_t")
    for context, where in scene.usable:
        if words := _granted(scene, context, security, "security", _TO_POLICY):
            symptom = "a script can change the policy that confines it"
            yield _too_much("reaches-policy", context, security, ("security", words), symptom, where)


@check("rewrites")
def not_rewritten(scene: Scene) -> Iterator[Fault]:
    """Whoever can write the mapping, the proof, the program or a script is whoever he likes."""
    labels = {one.label for one in (*scene.trusted, *scene.roots)} | {one.label for one in scene.scripts}
    files = sorted(labels | ({scene.program.label} if scene.program else set()))
    for context, where in scene.usable:
        for label in filter(None, files):
            for classname, wanted in (("file", _TO_FILES), ("dir", ("add_name", "remove_name", "setattr"))):
                if words := _granted(scene, context, label, classname, wanted):
                    symptom = "a script can change what runs for others, or who is who"
                    yield _too_much("rewrites", context, label, (classname, words), symptom, where)


@check("reaches-others")
def not_others(scene: Scene) -> Iterator[Fault]:
    """One context of each domain, each against each, at an equal level where there is one; two users of one domain."""
    domains: dict[str, dict[str, tuple[Context, str]]] = {}
    for context, where in scene.usable:
        domains.setdefault(context.domain, {}).setdefault(context.range, (context, where))
    if len(domains) > _TYPES_MOST:
        what = f"the mapping has {len(domains)} domains: whether they reach one another was asked of {_TYPES_MOST}"
        fix = "selcgi audit-map asks it of all, or ask about a part of the mapping"
        yield Fault("not-looked-at", "note", what, "what is wrong there is not found", fix)
    for one, other in permutations(list(domains.values())[:_TYPES_MOST], 2):
        level = next((level for level in one if level in other), "")
        context, where = one[level] if level else next(iter(one.values()))
        yield from _reaches(scene, context, (other[level] if level else next(iter(other.values())))[0], where)
    for first, second in _neighbours(scene):
        yield from _reaches(scene, first[0], second[0], first[1])


def _reaches(scene: Scene, context: Context, other: Context, where: str) -> Iterator[Fault]:
    for classname, wanted in (("process", _TO_PROCESSES), ("unix_stream_socket", ("connectto",))):
        if words := _granted(scene, context, str(other), classname, wanted):
            symptom = "a script of one user can stop, become or speak to another's"
            yield _too_much("reaches-others", context, str(other), (classname, words), symptom, where)


def _neighbours(scene: Scene) -> Iterator[tuple[tuple[Context, str], tuple[Context, str]]]:
    """A pair of contexts of each domain that differ in their categories, both ways."""
    seen: dict[str, list[tuple[Context, str]]] = {}
    for context, where in scene.usable:
        several = seen.setdefault(context.domain, [])
        if _upper(context.range) and all(context.range != other.range for other, _ in several):
            several.append((context, where))
    for several in seen.values():
        for first, second in combinations(several[:2], 2):
            yield first, second
            yield second, first


@check("categories", cheap=True)
def categories_count(scene: Scene) -> Iterator[Fault]:
    """A domain that is not mcs_constrained_type (policy/mcs) ignores categories, without a word."""
    for context, where in scene.usable:
        other = _elsewhere(scene, context)
        readable = _readable(scene, context)
        if other and readable and scene.allows(str(context), str(replace(readable, range=other)), "file", "read"):
            what = f"{context.domain} at {context.range} reads what is at {other}: its categories mean nothing"
            symptom = "users of this domain read each other's files, as if they had no categories"
            fix = f"(typeattributeset mcs_constrained_type ({context.domain}))"
            yield Fault("categories", "fatal", what, symptom, fix, (where,))


def _readable(scene: Scene, context: Context) -> Context | None:
    """The label of a file that it may read at its own level."""
    types = dict.fromkeys((*map(type_of, scene.script_labels), SCRIPT_TYPE))
    for name in types:
        label = replace(scene.launcher.context, role="object_r", domain=name, range=context.range)
        if scene.allows(str(context), str(label), "file", "read"):
            return label
    return None


def _elsewhere(scene: Scene, context: Context) -> str:
    """A level with one category that the context does not have; empty when it has none, or all."""
    own = _upper(context.range)
    level = context.range.partition("-")[0].partition(":")[0]
    free = (f"{level}:c{number}" for number in range(1024) if number not in own)
    candidate = next(free, "") if own else ""
    return candidate if candidate and scene.policy.canonical(str(replace(context, range=candidate))) else ""


def _upper(text: str) -> frozenset[int]:
    """The categories of the upper level of a range."""
    bands = categories(text.rpartition("-")[2])
    return frozenset(number for band in bands for number in range(band.first, band.last + 1))


@check("new-files", cheap=True)
def new_files(scene: Scene) -> Iterator[Fault]:
    """By the process on Debian, by the folder where the policy has default_range (Fedora)."""
    place = label_of_type(scene.launcher.context, _PLACE)
    for context, where in scene.usable:
        own, made = _upper(context.range), scene.policy.created(str(context), place, "file")
        level = range_of(made)
        lower = _upper(context.range.partition("-")[0])  # not empty in s0:c{user}-s0:c{user},c{request}: it is meant
        if own and level and _upper(level) not in (own, lower or own):
            what = f"a new file of {context.domain} at {context.range} is at {level}"
            symptom = "what a script makes for one user is open to all users of the domain"
            fix = f"label the folder that it writes to: semanage fcontext -a -t TYPE -r {context.range} 'FOLDER(/.*)?'"
            if "-" in context.range:
                fix = f"give the rule the single level {context.range.rpartition('-')[2]}"
            yield Fault("new-files", "warning", what, symptom, fix, (where,))
