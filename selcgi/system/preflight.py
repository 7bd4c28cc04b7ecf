"""Which permission of the policy a failed exec lacked, in the words of the policy.

Decides the order in which the questions are asked: the order in which the kernel asks them (security/selinux/hooks.c,
selinux_bprm_creds_for_exec, then open and map of the interpreter). Pure: `allowed` answers a question. Must not take
an unknown class or permission for granted; that is `allowed`'s duty. Used by system/selinux.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from selcgi.context import Context

Allowed = Callable[[str, str, str, str], bool]  # source, target, class, permission


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exec that failed. Labels as the kernel prints them; `interpreter` is empty for a binary."""

    own: Context
    target: Context
    path: str
    label: str
    interpreter: str
    interpreter_label: str
    no_new_privileges: bool
    nosuid: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """A question that the policy answers with no. `what` is the file it was asked about, empty for a process."""

    source: str
    target: str
    classname: str
    permission: str
    what: str = ""

    def __str__(self) -> str:
        tail = f" ({self.what})" if self.what else ""
        return f"{_type(self.source)} -> {_type(self.target)} : {self.classname} {{ {self.permission} }}{tail}"

    @property
    def rule(self) -> str:
        """The CIL line that would grant it."""
        return f"(allow {_type(self.source)} {_type(self.target)} ({self.classname} ({self.permission})))"


def questions(attempt: Attempt) -> Iterator[Missing]:
    """All that the exec needs, in the kernel's order."""
    own, target, label, path = str(attempt.own), str(attempt.target), attempt.label, attempt.path
    yield Missing(own, own, "process", "setexec")
    for permission in ("execute", "read", "open"):
        yield Missing(own, label, "file", permission, path)
    if attempt.no_new_privileges:
        yield Missing(own, target, "process2", "nnp_transition")
    if attempt.nosuid:
        yield Missing(own, target, "process2", "nosuid_transition")
    yield Missing(own, target, "process", "transition")
    yield Missing(target, label, "file", "entrypoint", path)
    if attempt.interpreter:
        for permission in ("execute", "read", "open"):
            yield Missing(own, attempt.interpreter_label, "file", permission, attempt.interpreter)
    loaded, what = (attempt.interpreter_label, attempt.interpreter) if attempt.interpreter else (label, path)
    for permission in ("read", "execute", "map"):
        yield Missing(target, loaded, "file", permission, what)
    yield Missing(target, own, "fd", "use")
    for permission in ("read", "write"):
        yield Missing(target, own, "fifo_file", permission)


def first_missing(attempt: Attempt, allowed: Allowed) -> Missing | None:
    """What stood in the way; None when the policy grants all that is known here."""
    for each in questions(attempt):
        if not allowed(each.source, each.target, each.classname, each.permission):
            return each
    return None


def fix(attempt: Attempt, missing: Missing, allowed: Allowed) -> str:
    """One thing to do about it: another range, another label, or one line of policy."""
    if _only_the_range(attempt, missing, allowed):
        return (
            f"the types may, the range {attempt.target.range} may not (MLS or MCS constraint): change the rule's range"
        )
    if missing.what == attempt.path and missing.permission == "entrypoint":
        relabel = f"relabel the script: semanage fcontext -a -t selcgi_script_exec_t '{attempt.path}', then restorecon"
        return f"{relabel}; or allow it: {missing.rule}"
    if missing.what:
        return (
            f"check the label {_type(missing.target)} with restorecon -nv {missing.what}; or allow it: {missing.rule}"
        )
    return f"allow it, if it is wanted: {missing.rule}"


def _only_the_range(attempt: Attempt, missing: Missing, allowed: Allowed) -> bool:
    """True when the same question with selcgi's own range in place of the rule's is answered with yes."""
    target, lower = str(attempt.target), str(replace(attempt.target, range=attempt.own.range))
    if target == lower or target not in (missing.source, missing.target):
        return False
    source = lower if missing.source == target else missing.source
    other = lower if missing.target == target else missing.target
    return allowed(source, other, missing.classname, missing.permission)


def _type(context: str) -> str:
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context or "(no label)"
