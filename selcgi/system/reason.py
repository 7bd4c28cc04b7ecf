"""Why the policy denies something, in a sentence, and the one thing that would help.

Decides what goes with which cause, as audit2why names it: a rule, a boolean, a constraint, a role, a bound, or a name
that the policy does not have. A constraint compares users, roles or ranges, so the cure is one of those, never an allow
rule. Pure. Called by system/policyfile.py.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from selcgi.system.policy import Vector

Kind = Literal["rule", "boolean", "constraint", "role", "bounds", "type"]
_COMPARISONS = 3  # that are shown
_FAILED = re.compile(r"\(([lhurt][12]) (\S+) (\S+) -Fail-\)?")


@dataclass(frozen=True, slots=True)
class Reason:
    """`fix` is empty when nothing should be done about it."""

    kind: Kind
    text: str
    fix: str


def reason(asked: Vector, denied: tuple[str, ...], code: str, more: Any) -> Reason:
    """From a code of audit2why and what comes with it (libselinux, audit2why.c); `denied` of what was `asked`."""
    source, target, classname = asked.source, asked.target, asked.classname
    what = f"{_part(source, 2)} -> {_part(target, 2)} : {classname} {{ {' '.join(denied)} }}"
    if code == "BOOLEAN":
        return _boolean(what, more or [])
    if code == "CONSTRAINT":
        return _constraint(what, source, target, str(more))
    if code == "RBAC":
        one, two = _part(source, 1), _part(target, 1)
        return Reason("role", f"{what}: the role {one} may not become {two}", f"(roleallow {one} {two})")
    if code == "BOUNDS":
        fix = "take the bound away (typebounds), or give its parent the same permissions"
        return Reason("bounds", f"{what}: the type is bounded by one that may not do this", fix)
    if code.startswith("BAD"):
        return _unknown(asked, denied, code)
    hidden = ", and a dontaudit rule keeps the denial out of the log" if code == "DONTAUDIT" else ""
    rule = f"(allow {_part(source, 2)} {_part(target, 2)} ({classname} ({' '.join(denied)})))"
    return Reason("rule", f"no rule allows {what}{hidden}", rule)


def _boolean(what: str, booleans: list[list[Any]]) -> Reason:
    commands = [f"setsebool -P {name} {'on' if value else 'off'}" for name, value in booleans]
    states = " and ".join(f"{name} is {'off' if value else 'on'}" for name, value in booleans)
    return Reason("boolean", f"{what}: the boolean {states}", "; or: ".join(commands))


def _constraint(what: str, source: str, target: str, said: str) -> Reason:
    """Which parts differ is in the clauses that failed: l1 and h1 are the range of the source, u2 the target's user."""
    failed = list(dict.fromkeys(" ".join(found) for found in _FAILED.findall(said)))
    compared = {one[0] for one in failed}
    more = f" and {len(failed) - _COMPARISONS} more" if len(failed) > _COMPARISONS else ""
    clause = f"not {', '.join(failed[:_COMPARISONS])}{more}"
    if compared & {"l", "h"}:
        parts = f"the range {_part(source, 3)} against {_part(target, 3)}"
        fix = (
            "change a range: in the mapping, or of the file (semanage fcontext -r, restorecon -F); no allow rule helps"
        )
    elif "u" in compared:
        parts = f"the SELinux user {_part(source, 0)} against {_part(target, 0)}"
        fix = "leave user and role out of the mapping's rule; no allow rule helps"
    else:
        parts = f"the role {_part(source, 1)} against {_part(target, 1)}"
        fix = "leave user and role out of the mapping's rule; no allow rule helps"
    return Reason("constraint", f"{what}: a constraint refuses {parts}: {clause}", fix)


def _unknown(asked: Vector, denied: tuple[str, ...], code: str) -> Reason:
    if code in ("BADSCON", "BADTCON"):
        context = asked.source if code == "BADSCON" else asked.target
        fix = f"load the module that declares {_part(context, 2)} (semodule -i), or correct its user, role or range"
        return Reason("type", f"the policy has no context {context}", fix)
    permissions = f"{asked.classname} {{ {' '.join(denied)} }}"
    name = f"class {asked.classname}" if code == "BADTCLASS" else f"all of {permissions}"
    return Reason("type", f"the policy does not have {name}", "")


def _part(context: str, number: int) -> str:
    """Of user, role, type, range."""
    return [*context.split(":", 3), "", "", "", ""][number] or context
