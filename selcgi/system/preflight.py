"""What the policy must allow for a script to start, run and be ended: every question, in the words of the policy.

Decides the order in which they are asked: that in which the kernel asks them (security/selinux/hooks.c,
selinux_bprm_creds_for_exec, then open and map of the interpreter), and behind it what the running script needs. Pure:
`allowed` answers a question. Must not take an unknown class or permission for granted; that is `allowed`'s duty.
Used by system/selinux.py after an exec that failed, and by diagnose/ before the first.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from selcgi.context import Context
from selcgi.policy.switches import warm_cure

Allowed = Callable[[str, str, str, str], bool]  # source, target, class, permission
SCRIPT_TYPE, ZYGOTE_TYPE = "selcgi_script_exec_t", "selcgi_zygote_exec_t"


class Step(StrEnum):
    """What a question is about. Those from WATCH on do not keep an exec from succeeding."""

    SETEXEC = "setexec"
    OPEN = "script-open"
    NO_NEW_PRIVILEGES = "no-new-privileges"
    NOSUID = "nosuid"
    TRANSITION = "transition"
    ENTRYPOINT = "entrypoint"
    INTERPRETER = "interpreter-open"
    LOAD = "interpreter-load"
    DESCRIPTORS = "descriptors"
    PIPES = "pipes"
    WATCH = "watch"
    LIMITS = "limits"
    SEARCH = "search"
    READ = "script-read"
    PROGRAM = "env-program"


AFTER_EXEC = frozenset({Step.WATCH, Step.LIMITS, Step.SEARCH, Step.READ, Step.PROGRAM})
FOREIGN = "name the domain of a web application, or make one: selcgi policy new NAME; no allow rules for this one"
_LAUNCH = (("process", "transition"), ("process", "sigkill"), ("process", "signal"), ("process2", "nnp_transition"))
_OF_INTERPRETER = frozenset({Step.INTERPRETER, Step.LOAD, Step.PROGRAM})  # or of the script, where that is a binary


@dataclass(frozen=True, slots=True)
class Attempt:
    """One launch. Labels as the kernel prints them; without a `path` nothing is asked about the script.

    `interpreter` is empty for a binary. `pipe` is the label of the pipes between script and selcgi, empty for selcgi's
    own context. `folders` are those on the way to the script, `program` is what an interpreter env(1) starts.
    """

    own: Context
    target: Context
    path: str = ""
    label: str = ""
    interpreter: str = ""
    interpreter_label: str = ""
    no_new_privileges: bool = False
    nosuid: bool = False
    pipe: str = ""
    folders: tuple[tuple[str, str], ...] = ()  # path and label
    program: str = ""
    program_label: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One permission that the launch needs. `what` is the file it is asked about, empty for a process."""

    step: Step
    source: str
    target: str
    classname: str
    permission: str
    what: str = ""

    def __str__(self) -> str:
        tail = f" ({self.what})" if self.what else ""
        return f"{type_of(self.source)} -> {type_of(self.target)} : {self.classname} {{ {self.permission} }}{tail}"

    @property
    def rule(self) -> str:
        """The CIL line that would grant it."""
        target = "self" if type_of(self.source) == type_of(self.target) else type_of(self.target)
        return f"(allow {type_of(self.source)} {target} ({self.classname} ({self.permission})))"


def questions(attempt: Attempt) -> Iterator[Question]:
    """All that the launch needs, in the kernel's order."""
    yield from _of_exec(attempt)
    yield from _of_watching(attempt)
    if attempt.path:
        yield from _of_running(attempt)


def _of_exec(attempt: Attempt) -> Iterator[Question]:
    own, target, label, path = str(attempt.own), str(attempt.target), attempt.label, attempt.path
    pipe = attempt.pipe or own
    yield Question(Step.SETEXEC, own, own, "process", "setexec")
    if path:
        yield from _each(Step.OPEN, own, label, "file", ("execute", "read", "open", "getattr"), path)
    if attempt.no_new_privileges:
        yield Question(Step.NO_NEW_PRIVILEGES, own, target, "process2", "nnp_transition")
    if attempt.nosuid:
        yield Question(Step.NOSUID, own, target, "process2", "nosuid_transition")
    yield Question(Step.TRANSITION, own, target, "process", "transition")
    if path:
        yield Question(Step.ENTRYPOINT, target, label, "file", "entrypoint", path)
        yield from _of_loading(attempt)
    yield Question(Step.DESCRIPTORS, target, own, "fd", "use")
    yield from _each(Step.PIPES, target, pipe, "fifo_file", ("read", "write"))


def _of_loading(attempt: Attempt) -> Iterator[Question]:
    own, target = str(attempt.own), str(attempt.target)
    loaded = (attempt.label, attempt.path)
    if attempt.interpreter:
        loaded = (attempt.interpreter_label, attempt.interpreter)
        yield from _each(Step.INTERPRETER, own, loaded[0], "file", ("execute", "read", "open"), loaded[1])
    yield from _each(Step.LOAD, target, loaded[0], "file", ("read", "execute", "map"), loaded[1])


def _of_watching(attempt: Attempt) -> Iterator[Question]:
    """The context is read back from /proc before a byte is forwarded, and the script is ended in any case."""
    own, target = str(attempt.own), str(attempt.target)
    yield from _each(Step.WATCH, own, target, "process", ("getattr", "signal", "sigkill"))
    yield Question(Step.WATCH, own, target, "dir", "search")
    yield from _each(Step.WATCH, own, target, "file", ("read", "open"))
    yield from _each(Step.LIMITS, own, target, "process", ("siginh", "rlimitinh"))


def _of_running(attempt: Attempt) -> Iterator[Question]:
    own, target = str(attempt.own), str(attempt.target)
    for path, label in attempt.folders:
        yield Question(Step.SEARCH, own, label, "dir", "search", path)
        yield Question(Step.SEARCH, target, label, "dir", "search", path)
    if attempt.interpreter:
        yield from _each(Step.READ, target, attempt.label, "file", ("open", "read"), attempt.path)
    if attempt.program:
        wanted = ("read", "open", "execute", "execute_no_trans", "map")
        yield from _each(Step.PROGRAM, target, attempt.program_label, "file", wanted, attempt.program)


def _each(  # noqa: PLR0913 - a vector with its permissions
    step: Step, source: str, target: str, classname: str, permissions: tuple[str, ...], what: str = ""
) -> Iterator[Question]:
    return (Question(step, source, target, classname, permission, what) for permission in permissions)


def first_missing(attempt: Attempt, allowed: Allowed) -> Question | None:
    """What stood in the way of an exec; None when the policy grants all that is known here."""
    for each in questions(attempt):
        if each.step not in AFTER_EXEC and not allowed(each.source, each.target, each.classname, each.permission):
            return each
    return None


def is_foreign(own: Context, target: Context, allowed: Allowed) -> bool:
    """Whether selcgi may do nothing of a launch with this domain, whoever and at whatever level: it was not made for
    scripts, as unconfined_t, and rules for it, one by one, would be the wrong cure."""
    contexts = {str(replace(own, domain=target.domain)), str(target)}
    return not any(allowed(str(own), one, *words) for one in contexts for words in _LAUNCH)


def fix(attempt: Attempt, missing: Question, allowed: Allowed) -> str:
    """One thing to do about it: another domain, range or identity, another label, or one line of policy."""
    own, target, ends = attempt.own, attempt.target, (missing.source, missing.target)

    def ask(source: str, target: str) -> bool:
        return allowed(source, target, missing.classname, missing.permission)

    if would_do(target, replace(target, range=own.range), ends, ask):
        return f"the types may, the range {target.range} may not (MLS or MCS constraint): change the rule's range"
    if would_do(target, replace(target, user=own.user, role=own.role), ends, ask):
        return (
            f"the types may, {target.user}:{target.role} may not (a constraint, or no roleallow): "
            "leave user and role out of the rule"
        )
    if missing.what and ask(missing.source, _at_range(missing.target, range_of(missing.source))):
        return (
            f"the types may, the range {range_of(missing.target)} of {shlex.quote(missing.what)} may not (MLS or MCS "
            "constraint): change the file's range (semanage fcontext -r, restorecon -F), or the rule's"
        )
    zygote = moving_zygote(missing.source, missing.target, missing.permission)
    if better := _another_label(attempt, missing, allowed) or (zygote and warm_cure(zygote)):
        return better
    if missing.what:
        check = f"check the label {type_of(missing.target)} with restorecon -nv {shlex.quote(missing.what)}"
        return f"{check}; or allow it: {missing.rule}"
    foreign = str(target) in ends and not target.is_zygote and is_foreign(own, target, allowed)
    return FOREIGN if foreign else f"allow it, if it is wanted: {missing.rule}"


def _another_label(attempt: Attempt, missing: Question, allowed: Allowed) -> str:
    """How to relabel a file whose type is none that is meant to be started; empty where it is one, or for a folder.

    To allow it would make a script, or an interpreter, of every file in such a place: of all of /var, say.
    """
    path, zygote = shlex.quote(missing.what), attempt.target.is_zygote
    if zygote and missing.step is Step.READ:  # the script, which a zygote reads and does not execute
        return ""
    if missing.what and missing.what == attempt.path:
        what, wanted = ("program", ZYGOTE_TYPE) if zygote else ("script", SCRIPT_TYPE)
        if type_of(missing.target) == wanted or allowed(str(attempt.target), missing.target, "file", "entrypoint"):
            return ""
        relabel = f"relabel the {what}: semanage fcontext -a -t {wanted} {path}, then restorecon -F {path}"
        return f"restorecon -F {path}; where its place has no label of its own, {relabel}" if zygote else relabel
    ends = (attempt.own, attempt.target)
    if missing.step not in _OF_INTERPRETER or any(allowed(str(o), missing.target, "file", "execute") for o in ends):
        return ""
    return f"relabel the interpreter: semanage fcontext -a -t bin_t {path}, then restorecon -F {path}"


def moving_zygote(source: str, target: str, permission: str) -> str:
    """The domain of the warm interpreter, where the permission is that to start it or to move on from it; or empty."""
    moving = permission in ("transition", "dyntransition")
    found = [one for one in map(Context.parse, (source, target)) if one.is_zygote] if moving else []
    return found[0].domain if found else ""


def would_do(one: Context, other: Context, ends: tuple[str, str], ask: Callable[[str, str], bool]) -> bool:
    """Whether what is refused from the first to the second of `ends` would be, with `other` in the place of `one`."""
    before, after = str(one), str(other)
    source, target = (after if end == before else end for end in ends)
    return before != after and before in ends and ask(source, target)


def type_of(context: str) -> str:
    """The type of a context or label, or what there is in its place."""
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context or "(no label)"


def range_of(context: str) -> str:
    """Empty where it has none."""
    return "".join(context.split(":", 3)[3:])


def _at_range(label: str, range_: str) -> str:
    return ":".join((*label.split(":", 3)[:3], range_))


def type_and_range(context: str) -> str:
    """What a relabel changes."""
    return context.split(":", 2)[-1]
