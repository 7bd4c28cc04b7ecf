"""What the kernel refused, as a sentence for people: who wanted what, what refused it, and what to do about it.

Decides what the cause is by asking the policy once more: when the same would be allowed at the level of who asked,
categories refused it, and no allow rule helps; when it would be allowed to his user and role, a constraint on those
did; else no rule allows it, and a switch of the shipped policy goes before a rule. Pure but for the questions. Must not
decide which request it belongs to. Called by serve/ and learn/.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from selcgi.context import LAUNCHER, Context
from selcgi.errors import PolicyUnreadable
from selcgi.policy.switches import switch, warm_cure
from selcgi.system.audit import Denial
from selcgi.system.policy import Policy
from selcgi.system.preflight import moving_zygote, type_of, would_do
from selcgi.system.reason import Reason

_FILES = frozenset(("file", "dir", "lnk_file", "chr_file", "blk_file", "sock_file", "fifo_file"))
_PORTS = {"tcp_socket": "TCP", "udp_socket": "UDP", "dccp_socket": "DCCP", "sctp_socket": "SCTP"}
_AS_ITS_USER = "selcgi runs without capabilities: give its commands as its user (runuser -u selcgi -- selcgi ..)"
SILENT = "a refusal that is not recorded (dontaudit) is possible: semodule -DB shows it, semodule -B hides such again"
_UNLABELLED = frozenset(("unlabeled_t", "default_t", "file_t"))  # the base policy's types for what nobody labelled
# What a permission means to a reader; the first of a record that is named here is the one that tells most.
_VERBS = {
    "execute_no_trans": "run",
    "execute": "run",
    "entrypoint": "be started by",
    "create": "make",
    "add_name": "make something in",
    "remove_name": "take something out of",
    "unlink": "delete",
    "rmdir": "delete",
    "rename": "rename",
    "link": "link to",
    "write": "write to",
    "append": "write to",
    "setattr": "change the owner, mode or times of",
    "read": "read",
    "open": "open",
    "map": "map",
    "search": "go through",
    "getattr": "look at",
    "lock": "lock",
    "ioctl": "control",
    "connectto": "connect to a socket of",
    "sendto": "send to a socket of",
    "use": "use a descriptor of",
    "sigkill": "kill",
    "signal": "signal",
    "sigstop": "stop",
    "signull": "look for",
    "ptrace": "trace",
    "transition": "become",
    "dyntransition": "become",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`text` says who wanted what and what refused it, `fix` what to do; empty when nothing should be."""

    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.text}: {self.fix}" if self.fix else self.text


def explain(denial: Denial, who: str, policy: Policy) -> Refusal:
    """`who` is the subject of the sentence, without its context."""
    cause = cause_of(denial, policy)
    subject = f"{who} ({short(denial.source)})"
    if denial.error:
        return Refusal(f"{subject}: the security server refused {denial.error} ({short(denial.target)})", cause.fix)
    outcome = "not refused, since the domain is permissive" if denial.permissive else "refused"
    return Refusal(f"{subject} wanted to {wish(denial)}: {outcome}, {cause.text}", cause.fix)


def wish(denial: Denial) -> str:
    """What it wanted: write to /srv/data/x (user_webapp_rw_t:s0:c2)."""
    target, permissions = short(denial.target), denial.permissions
    if denial.classname in _PORTS:
        return _network(denial)
    if denial.classname.startswith(("capability", "cap_userns")):
        return f"use the capability {' '.join(permissions)}"
    verb = next((verb for name, verb in _VERBS.items() if name in permissions), "")
    if not verb or (denial.classname not in _FILES and verb in ("read", "write to", "make", "open", "look at")):
        what = f"do {{ {' '.join(permissions)} }} to a {denial.classname}"
        return f"{what} {_named(denial.fields)}({target})".replace("  ", " ")
    if denial.classname == "dir" and verb == "read":
        verb = "list"
    return f"{verb} {_named(denial.fields) or _THING.get(denial.classname, '')}({target})"


_THING = {"dir": "a folder ", "fifo_file": "a pipe ", "process": "a process ", "fd": "another ", "file": "a file "}


def _network(denial: Denial) -> str:
    fields, kind = denial.fields, _PORTS[denial.classname]
    target, permissions = type_of(denial.target), denial.permissions
    if "name_connect" in permissions:
        return f"connect to {kind} port {fields.get('dest', '?')} ({target})"
    if "name_bind" in permissions:
        return f"listen on {kind} port {fields.get('src', '?')} ({target})"
    if "create" in permissions:
        return f"make a {kind} socket"
    return f"do {{ {' '.join(permissions)} }} with a {kind} socket ({target})"


def _named(fields: Mapping[str, str]) -> str:
    """The path, or what the kernel tells of a file in its place: the name, and where to look for it."""
    if path := fields.get("path"):
        return f"{path} "
    if name := fields.get("name"):
        place = f" (inode {fields['ino']} on {fields['dev']})" if "ino" in fields and "dev" in fields else ""
        return f"{name}{place} "
    return ""


def cause_of(denial: Denial, policy: Policy) -> Reason:
    """By the policy of now, which may have been loaded since."""
    try:
        return _cause(denial, policy)
    except PolicyUnreadable as error:
        return Reason("rule", f"and the policy can't be asked why ({error.reason})", error.fix)
    except ValueError as error:  # a label that the policy of now does not have
        return Reason("type", f"and one of the contexts is none: {error}", "relabel it: restorecon -v")


def _cause(denial: Denial, policy: Policy) -> Reason:
    wanted = frozenset(denial.permissions)
    vector = policy.vector(denial.source, denial.target, denial.classname)
    if denial.error or not vector.known:
        fix = "load the module that declares it (semodule -l), or correct the user, role or range in the mapping"
        return Reason("type", "since the policy has no such context or class", fix)
    if wanted <= vector.allowed:
        text = "but the policy of now allows it: another was loaded since, or the type is bounded"
        return Reason("rule", text, "ask again")
    source, target = Context.parse(denial.source), Context.parse(denial.target)

    def ask(one: str, other: str) -> bool:
        return policy.vector(one, other, denial.classname).allowed.issuperset(denial.permissions)

    ends = (denial.source, denial.target)
    if would_do(target, replace(target, range=source.range), ends, ask):
        return Reason("constraint", "by its categories (MCS constraint), not for want of a rule", _fix_range(denial))
    if would_do(target, replace(target, user=source.user, role=source.role), ends, ask):
        text = f"by a constraint: {target.user}:{target.role} is another user or role"
        return Reason("constraint", text, "leave user and role out of the mapping's rule; no allow rule helps")
    return Reason("rule", f"no rule allows it ({' '.join(sorted(wanted - vector.allowed))})", _fix_rule(denial))


def _fix_range(denial: Denial) -> str:
    if denial.classname not in _FILES:
        return "change the range in the mapping; no allow rule helps"
    own = Context.parse(denial.source).range
    return f"if it is this user's, relabel it (chcon -l {own}, semanage fcontext -r {own}); or change the rule's range"


def _fix_rule(denial: Denial) -> str:
    target, rule = type_of(denial.target), _switch_of(denial) or rule_of(denial)
    if zygote := moving_zygote(denial.source, denial.target, " ".join(denial.permissions)):
        return warm_cure(zygote)
    if Context.parse(denial.source).is_zygote:
        return _fix_zygote(denial)
    if denial.classname.startswith(("capability", "cap_userns")):
        own = type_of(denial.source) == LAUNCHER.domain
        return _AS_ITS_USER if own else "scripts run without capabilities: do without"
    if denial.classname in _FILES and target in _UNLABELLED:
        return f"it has no label of its own: restorecon -v {_quoted(denial) or 'FILE'}, or semanage fcontext"
    if denial.classname in _FILES:
        check = f"restorecon -nv {_quoted(denial)}".rstrip()
        return f"see whether its label is right ({check}); if so, and if it is wanted, allow it: {rule}"
    return f"allow it, if it is wanted: {rule}"


def _fix_zygote(denial: Denial) -> str:
    """What one may do all applications of its domain may, for every user: no rule is offered for data."""
    fix = "a warm interpreter reads code alone: do this for each request, not where modules are loaded"
    if denial.classname in _FILES:
        fix += f"; if it is code: (call selcgi_zygote_reads ({type_of(denial.source)} {type_of(denial.target)}))"
    return fix


def _quoted(denial: Denial) -> str:
    """The path, for a shell: whoever wrote the script chose it. Empty where the record has none."""
    path = denial.fields.get("path", "")
    return shlex.quote(path) if path.startswith("/") else ""


def rule_of(denial: Denial) -> str:
    """The CIL line that would grant it."""
    permissions = " ".join(denial.permissions)
    return f"(allow {type_of(denial.source)} {_other(denial)} ({denial.classname} ({permissions})))"


def _switch_of(denial: Denial) -> str:
    return switch(type_of(denial.source), _other(denial), denial.classname, denial.permissions)


def _other(denial: Denial) -> str:
    """The type of the target, as a rule has it."""
    source, target = type_of(denial.source), type_of(denial.target)
    return "self" if source == target else target


def short(context: str) -> str:
    """Type and range, which is what rules and labels differ in."""
    return context.split(":", 2)[2] if context.count(":") > 1 else context
