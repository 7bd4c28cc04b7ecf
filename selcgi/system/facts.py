"""What is true of SELinux on this system, and whether selcgi may start on it.

Decides to refuse whenever a script that lost its context would not be stopped by the kernel. Reads the facts in one
place and judges them in another, so that each refusal has a test. Must not change anything. Used by system/selinux.py.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from selcgi.context import Context
from selcgi.errors import StartRefused
from selcgi.system.policy import KernelPolicy

# The policy withholds execute_no_trans and every automatic transition from these: a lost context means EACCES.
LAUNCHER_DOMAINS = frozenset({"selcgi_t"})
_SELINUXFS = Path("/sys/fs/selinux")
_OFF_IS_ASKED_FOR = "or start with --selinux off, which confines nothing"


@dataclass(frozen=True, slots=True)
class Facts:
    """`label` is /proc/self/attr/current, which the kernel shows even where selinuxfs is out of reach."""

    in_kernel: bool
    label: str = ""
    binding: ModuleType | None = None
    enabled: bool = False  # is_selinux_enabled(3): selinuxfs is mounted read-write and /etc/selinux/config exists
    enforcing: bool = False
    domain_permissive: bool = False

    @property
    def own(self) -> Context | None:
        try:
            return Context.parse(self.label)
        except ValueError:
            return None


def read_facts(find_binding: Callable[[], ModuleType]) -> Facts:
    """The facts as far as they can be had. StartRefused when there is no binding to ask with."""
    in_kernel = "selinuxfs" in Path("/proc/filesystems").read_text().split()
    label = _own_label()
    if not in_kernel or not label:
        return Facts(in_kernel, label)
    binding = find_binding()
    if not binding.is_selinux_enabled():
        return Facts(in_kernel, label, binding)
    enforcing = binding.security_getenforce() == 1
    facts = Facts(in_kernel, label, binding, True, enforcing)
    if facts.own is None or facts.own.domain not in LAUNCHER_DOMAINS:  # others may not ask, and are refused anyway
        return facts
    permissive = KernelPolicy(binding).vector(label, label, "process").permissive
    return replace(facts, domain_permissive=permissive)


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """What the checks before the first request ask of the kernel, beside its policy."""

    deny_unknown: bool = True
    nnp_nosuid: bool = True  # the policy's capability nnp_nosuid_transition


def read_kernel_facts() -> KernelFacts:
    """What can't be read is taken for the safe answer: no check is about selinuxfs itself."""
    return KernelFacts(_is_one("deny_unknown"), _is_one("policy_capabilities/nnp_nosuid_transition"))


def _is_one(name: str) -> bool:
    try:
        descriptor = os.open(_SELINUXFS / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:  # without the ioctl(2) that open() asks of a file
        return os.read(descriptor, 16).strip(b"\0\n ") == b"1"
    finally:
        os.close(descriptor)


def refusal(facts: Facts, permissive_ok: bool) -> StartRefused | None:
    """Why selcgi must not start; None when it may."""
    return not_there(facts) or (None if permissive_ok else not_enforced(facts)) or _wrong_place(facts)


def not_there(facts: Facts) -> StartRefused | None:
    """Whether there is a policy to ask at all."""
    if not facts.in_kernel:
        return StartRefused("SELinux is off: this kernel runs without it", f"boot with SELinux, {_OFF_IS_ASKED_FOR}")
    if facts.own is None:
        reason = f"SELinux is off: /proc/self/attr/current is {facts.label or 'empty'!r}, no context"
        return StartRefused(reason, f"load a policy at boot (/etc/selinux/config), {_OFF_IS_ASKED_FOR}")
    if not facts.enabled:
        reason = f"selcgi runs as {facts.label}, but libselinux says disabled: selinuxfs is missing or read-only here"
        fix = "mount /sys/fs/selinux read-write and keep /etc/selinux/config, in a container or a sandboxed unit too"
        return StartRefused(reason, fix)
    return None


def not_enforced(facts: Facts) -> StartRefused | None:
    """Whether its denials stop anything."""
    asked_for = "or start with --selinux permissive-ok, to develop a policy"
    if not facts.enforcing:
        return StartRefused("the kernel is permissive: it would stop nothing", f"setenforce 1, {asked_for}")
    if facts.domain_permissive and facts.own is not None:
        domain = facts.own.domain
        return StartRefused(f"selcgi's domain {domain} is permissive", f"semanage permissive -d {domain}, {asked_for}")
    return None


def _wrong_place(facts: Facts) -> StartRefused | None:
    own = facts.own
    if own is None:
        return None
    if own.domain not in LAUNCHER_DOMAINS:
        reason = (
            f"selcgi runs in {own.domain}, not in selcgi_t: the policy would not stop a script that lost its context"
        )
        fix = "install contrib/selinux, restorecon the program, start it by the unit, or from a shell in unconfined_t"
        return StartRefused(reason, fix)
    if own.range not in ("", "s0"):
        # Its pipes have its range as label: a script at s0:c1 may not write one that reaches to c1023.
        reason = f"selcgi runs at {own.range}, not at s0: scripts could not write to its pipes"
        return StartRefused(
            reason, f"SELinuxContext={own.user}:{own.role}:{own.domain}:s0 in the unit, or runcon -l s0"
        )
    return None


def _own_label() -> str:
    try:
        return Path("/proc/self/attr/current").read_bytes().rstrip(b"\0\n").decode(errors="replace")
    except OSError:  # no security module answers
        return ""
