"""Questions to the policy: what may this context do to that one, and what label would something new get.

Decides what counts as a yes: only a permission that the policy knows and grants. An unknown class, permission or
context is denied, whatever the policy's handle_unknown says, and a permissive domain's denials stay denials. That is
why selinux_check_access(3) is not used: it says yes in all these cases. Must not say what to do about a no.
Asked by system/selinux.py and diagnose/; a policy in a file answers by the same protocol (system/policyfile.py).
"""

import errno
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from selcgi.context import Context
from selcgi.errors import PolicyUnreadable, StartRefused
from selcgi.system.binding import find_binding

_PERMISSIVE = 1  # SELINUX_AVD_FLAGS_PERMISSIVE (selinux/selinux.h)
_FIX = "allow the domain that asks: security_t:security { compute_av check_context compute_create }"
_BITS = tuple(1 << number for number in range(32))  # of an access vector (access_vector_t)


@dataclass(frozen=True, slots=True)
class Vector:
    """All that `source` may do to `target` in a class. `silent`: denied, and by a dontaudit rule without a record.

    `permissive`: the domain of `source` is, so its denials stop nothing. Not `known`: the policy has no such class, or
    takes one of the two for no context.
    """

    source: str
    target: str
    classname: str
    allowed: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    permissive: bool = False
    known: bool = True


class Policy(Protocol):
    """A loaded policy, or one in a file. Contexts are as the kernel prints them. Raises PolicyUnreadable."""

    def vector(self, source: str, target: str, classname: str) -> Vector:
        """By the policy alone, whether the kernel enforces it or not."""

    def canonical(self, context: str) -> str | None:
        """`context` as the kernel would print it; None when the policy has no such context."""

    def created(self, source: str, target: str, classname: str) -> str:
        """What `source` would make in or of `target` without asking for a label; empty when unknown to the policy."""

    def serial(self) -> int:
        """Another number after each load of a policy or change of a boolean; always the same for a file."""


class KernelPolicy:
    """The policy that the kernel has loaded. Each answer is asked for anew: it is of this moment."""

    def __init__(self, binding: ModuleType) -> None:
        """StartRefused when the kernel's status page can't be read."""
        self._se = binding
        self._permissions: dict[int, dict[str, int]] = {}
        try:
            binding.selinux_status_open(0)
        except OSError as error:
            reason = f"cannot open /sys/fs/selinux/status: {error.strerror}"
            raise StartRefused(reason, "allow selcgi_t to read and map security_t files") from error
        self._serial = self.serial()

    def vector(self, source: str, target: str, classname: str) -> Vector:
        self._forget_after_load()
        number = self._se.string_to_security_class(classname)
        decision = self._se.av_decision()
        try:
            if not number:
                return Vector(source, target, classname, known=False)
            self._se.security_compute_av_flags_raw(source, target, number, 0, decision)
        except OSError as error:
            _raise_unless_invalid(error)
            return Vector(source, target, classname, known=False)
        bits, silent = self._bits(number), ~decision.allowed & ~decision.auditdeny
        return Vector(
            source=source,
            target=target,
            classname=classname,
            allowed=frozenset(name for name, bit in bits.items() if decision.allowed & bit),
            silent=frozenset(name for name, bit in bits.items() if silent & bit),
            permissive=bool(decision.flags & _PERMISSIVE),
        )

    def canonical(self, context: str) -> str | None:
        try:
            return str(self._se.security_canonicalize_context_raw(context)[1])
        except OSError as error:
            _raise_unless_invalid(error)
            return None

    def created(self, source: str, target: str, classname: str) -> str:
        self._forget_after_load()
        number = self._se.string_to_security_class(classname)
        try:
            return str(self._se.security_compute_create_raw(source, target, number)[1]) if number else ""
        except OSError as error:
            _raise_unless_invalid(error)
            return ""

    def serial(self) -> int:
        return int(self._se.selinux_status_policyload())

    def _bits(self, number: int) -> dict[str, int]:
        """The permissions that the policy knows in a class."""
        if number not in self._permissions:
            names = ((self._se.security_av_perm_to_string(number, bit), bit) for bit in _BITS)
            self._permissions[number] = {name: bit for name, bit in names if name}
        return self._permissions[number]

    def _forget_after_load(self) -> None:
        """A policy may number its classes and permissions as it likes."""
        if (serial := self.serial()) != self._serial:
            self._serial = serial
            self._permissions.clear()
            self._se.selinux_flush_class_cache()


def what_is_invalid(policy: Policy, own: Context, wanted: Context) -> tuple[str, str]:
    """Which part of `wanted`, a context that the policy does not have, and what to do about it."""
    tail = f"in {wanted}, by the loaded policy"
    if policy.canonical(str(Context(own.user, "object_r", wanted.domain, own.range))) is None:
        return f"the type {wanted.domain} is unknown {tail}", "load the module that declares it (semodule -l)"
    if policy.canonical(str(Context(own.user, own.role, wanted.domain, own.range))) is None:
        fix_role = f"(roletype {own.role} {wanted.domain})"
        return f"the role {own.role} may not have the type {wanted.domain} {tail}", f"policy: {fix_role}"
    if policy.canonical(str(Context(own.user, own.role, wanted.domain, wanted.range))) is None:
        hint = f"use what the SELinux user {own.user} may have (semanage user -l)"
        return f"the range {wanted.range} is invalid {tail}", hint
    hint = "leave user and role out of the rule, or declare them (semanage user -l)"
    return f"the user {wanted.user}, its role or its range is invalid {tail}", hint


def open_policy() -> KernelPolicy:
    """The running kernel's. StartRefused without libselinux's binding, PolicyUnreadable without selinuxfs."""
    binding = find_binding()
    if not binding.is_selinux_enabled():
        raise PolicyUnreadable("SELinux is off here, or selinuxfs is missing or read-only", "ask where it is on")
    return KernelPolicy(binding)


def _raise_unless_invalid(error: OSError) -> None:
    """EINVAL: a context or class that the policy does not have. Anything else is no answer."""
    if error.errno != errno.EINVAL:
        raise PolicyUnreadable(f"the policy cannot be asked: {error.strerror}", _FIX) from error
