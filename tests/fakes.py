"""SELinux in memory: FakeLabels and FakePolicy, each held to the kernel's behaviour by its contract in tests/system.

They know a handful of types and categories; FakeLabels also what was set as the exec context when a process was
started. They must not be kinder than the kernel. Used by tests on machines without SELinux.
"""

import os
import re
import socket
import stat
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from selcgi.context import Context, ContextSpec
from selcgi.errors import ContextLost, LaunchFailed
from selcgi.plan import Script
from selcgi.system.policy import Policy, Vector
from selcgi.system.preflight import Step

OWN = Context("system_u", "system_r", "selcgi_t", "s0")
TYPES = frozenset({"selcgi_t", "user_webapp_t", "staff_webapp_t", "anon_webapp_t"})
_HIGHEST_CATEGORY = 1023


class FakeLabels:
    """`refuses` are contexts that cannot be set; `comes_up_as` is what a process really gets, as by a broken policy."""

    def __init__(self, refuses: frozenset[str] = frozenset(), comes_up_as: Context | None = None) -> None:
        self.note = ""
        self.own: Context | None = OWN
        self.policy: Policy | None = None
        self.set: list[Context] = []  # every exec context there was, the last one last
        self.current: Context | None = None
        self._refuses = refuses
        self._comes_up_as = comes_up_as

    def resolve(self, spec: ContextSpec) -> Context:
        wanted = spec.resolve(OWN)
        if wanted.domain == OWN.domain:
            raise LaunchFailed("context", "the rule gives the script selcgi's own domain")
        if wanted.domain not in TYPES:
            raise LaunchFailed("context", f"the type {wanted.domain} is unknown")
        if (wanted.user, wanted.role) != (OWN.user, OWN.role):
            raise LaunchFailed("context", f"the user {wanted.user} is unknown")
        return Context(wanted.user, wanted.role, wanted.domain, _canonical(wanted.range))

    @contextmanager
    def exec_context(self, context: Context | None) -> Iterator[None]:
        if context is None or threading.current_thread() is not threading.main_thread():
            raise LaunchFailed("set_exec_context", "only the main thread spawns, and never without a context")
        if str(context) in self._refuses:
            raise LaunchFailed("set_exec_context", f"the kernel does not take {context}")
        self.current = context
        self.set.append(context)
        try:
            yield
        finally:
            self.current = None

    def confirm(self, pid: int, context: Context | None) -> None:
        started = self._comes_up_as or (self.set[-1] if self.set else None)
        seen = OWN if pid == os.getpid() else started
        if seen is None or seen != context:
            raise ContextLost("confirm", f"process {pid} came up in {seen}, not in {context}")

    def file_label(self, descriptor: int) -> str:
        mode = os.fstat(descriptor).st_mode
        return str(OWN) if stat.S_ISFIFO(mode) else "system_u:object_r:selcgi_script_exec_t:s0"

    def peer_context(self, sock: socket.socket) -> Context | None:
        return OWN if sock.family == socket.AF_UNIX else None

    def explain_exec(self, context: Context | None, script: Script, error: OSError) -> tuple[str, str]:
        return f"cannot execute {os.fsdecode(script.path)} as {context}: {error.strerror}", "ask the policy"

    def lacking(self, context: Context | None, script: Script, steps: Collection[Step]) -> tuple[str, str]:  # noqa: ARG002
        return "", ""


def _canonical(wanted: str) -> str:
    """Categories in order, as the kernel prints them; a range of one level only."""
    level, _, categories = wanted.partition(":")
    if level != "s0" or not re.fullmatch(r"(c\d+(,c\d+)*)?", categories):
        raise LaunchFailed("context", f"the range {wanted} is invalid")
    numbers = sorted({int(each[1:]) for each in categories.split(",") if each})
    if numbers and numbers[-1] > _HIGHEST_CATEGORY:
        raise LaunchFailed("context", f"the range {wanted} is invalid")
    return f"{level}:{','.join(f'c{number}' for number in numbers)}" if numbers else level


Rule = tuple[str, str, str]  # the types of source and target, the class


class FakePolicy:
    """Allow rules by type, with the MCS constraint on files of those that end in webapp_t, less the `free` ones."""

    def __init__(
        self,
        allowed: Mapping[Rule, Iterable[str]],
        silent: Mapping[Rule, Iterable[str]] | None = None,
        types: Iterable[str] = (),
        permissive: Iterable[str] = (),
        transitions: Mapping[Rule, str] | None = None,
        free: Iterable[str] = (),
    ) -> None:
        self.free = frozenset(free)
        self.allowed = {rule: frozenset(names) for rule, names in allowed.items()}
        self.silent = {rule: frozenset(names) for rule, names in (silent or {}).items()}
        self.types = {*types, *TYPES, *(name for rule in self.allowed for name in rule[:2])}
        self.permissive = frozenset(permissive)
        self.transitions = dict(transitions or {})
        self.load = 1

    def vector(self, source: str, target: str, classname: str) -> Vector:
        classes = {rule[2] for rule in self.allowed}
        if classname not in classes or not self.canonical(source) or not self.canonical(target):
            return Vector(source, target, classname, known=False)
        acting, other = Context.parse(source), Context.parse(target)
        rule = (acting.domain, other.domain, classname)
        allowed = self.allowed.get(rule, frozenset())
        constrained = acting.domain.endswith("webapp_t") and acting.domain not in self.free
        if constrained and classname in ("file", "dir") and not _categories(other.range) <= _categories(acting.range):
            allowed = frozenset()
        silent = self.silent.get(rule, frozenset()) - allowed
        return Vector(source, target, classname, allowed, silent, acting.domain in self.permissive)

    def canonical(self, context: str) -> str | None:
        try:
            wanted = Context.parse(context)
            known = wanted.user == OWN.user and wanted.role in (OWN.role, "object_r") and wanted.domain in self.types
            return str(Context(wanted.user, wanted.role, wanted.domain, _canonical(wanted.range))) if known else None
        except (ValueError, LaunchFailed):
            return None

    def created(self, source: str, target: str, classname: str) -> str:
        if not self.vector(source, target, classname).known:
            return ""
        acting, other = Context.parse(source), Context.parse(target)
        domain = self.transitions.get((acting.domain, other.domain, classname))
        if classname == "process":
            return str(Context(acting.user, acting.role, domain or acting.domain, acting.range))
        return str(Context(acting.user, "object_r", domain or other.domain, acting.range))

    def serial(self) -> int:
        return self.load


def _categories(text: str) -> set[str]:
    return set(text.partition(":")[2].split(",")) - {""}
