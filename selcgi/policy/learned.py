"""What a domain lacked, out of the refusals of its twin: the smallest rules, and which of them nobody should add.

Decides what is dangerous to allow: what undoes the confinement itself, or leads out of it. Such a rule is shown, and
left out unless it was asked for. Pure. Used by policy/twin.py, learn/rehearsal.py and cli/learn.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# class -> why no web application should have it
_CLASSES = {
    "security": "it changes or reads SELinux itself",
    "capability": "a privilege of root",
    "capability2": "a privilege of root",
    "cap_userns": "a privilege of root in a namespace",
    "cap2_userns": "a privilege of root in a namespace",
    "system": "it changes the system as a whole",
    "bpf": "it puts programs into the kernel",
    "netlink_audit_socket": "it reads or writes the audit",
    "process2": "it changes how domains are left",
}
_OWN = {"execmem", "execstack", "execheap", "setexec", "setcurrent", "setfscreate", "setsockcreate", "setkeycreate",
        "ptrace", "transition", "dyntransition"}  # fmt: skip
_TARGETS = {
    "security_t": "SELinux's own files",
    "selinux_config_t": "SELinux's own files",
    "shadow_t": "everybody's passwords",
    "unlabeled_t": "it has no label: relabel it instead (restorecon)",
    "default_t": "it has no label of its own: relabel it instead (semanage fcontext, restorecon)",
}
_CODE = {"execmod", "relabelto", "relabelfrom", "entrypoint", "mounton"}


@dataclass(frozen=True, slots=True)
class Want:
    """One refusal of the twin, in the domain's name. `target` is a type, "self" for the domain's own."""

    target: str
    classname: str
    permissions: tuple[str, ...]
    example: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`permissions` of a class on a type, and for what, by the first refusal. `danger`: why it should not be added."""

    target: str
    classname: str
    permissions: tuple[str, ...]
    example: str
    danger: str

    def text(self, domain: str) -> str:
        return f"(allow {domain} {self.target} ({self.classname} ({' '.join(self.permissions)})))"


def rules(wants: Iterable[Want]) -> list[Rule]:
    """One rule for each type and class, in a fixed order. A dangerous permission makes a rule of its own."""
    found: dict[tuple[str, str, str], tuple[set[str], str]] = {}
    for want in wants:
        for permission in want.permissions:
            key = want.target, want.classname, danger(want.target, want.classname, permission)
            permissions, _ = found.setdefault(key, (set(), want.example))
            permissions.add(permission)
    return [
        Rule(target, classname, tuple(sorted(permissions)), example, why)
        for (target, classname, why), (permissions, example) in sorted(found.items())
    ]


def danger(target: str, classname: str, permission: str) -> str:
    """Why this should not be allowed; empty when nothing speaks against it."""
    if classname in _CLASSES:
        return _CLASSES[classname]
    if classname == "process" and (target != "self" or permission in _OWN):
        return "it reaches another process, or leads out of the domain" if target != "self" else "it undoes confinement"
    if target.startswith("selcgi_") and target != "selcgi_public_content_t":
        return "it is selcgi's own"
    if permission in _CODE:
        return "it changes labels or code"
    return _TARGETS.get(target, "")


def block(domain: str, learned: Sequence[Rule], dangerous: bool) -> str:
    """CIL to load beside the domain. Dangerous rules are comments unless `dangerous`."""
    lines = []
    for rule in learned:
        note = f"  ; {rule.danger}" if rule.danger else f"  ; {rule.example}" if rule.example else ""
        mark = "; dangerous: " if rule.danger and not dangerous else ""
        lines.append(f"{mark}{rule.text(domain)}{note}")
    return "".join(f"{line}\n" for line in lines)
