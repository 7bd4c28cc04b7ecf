"""FakeLabels: SELinux in memory, held to the kernel's behaviour by tests/system/test_labels_contract.py.

It knows a handful of types and categories, and what was set as the exec context when a process was started. It must
not be kinder than the kernel. Used by tests of launch/ and serve/ on machines without SELinux.
"""

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from selcgi.context import Context, ContextSpec
from selcgi.errors import ContextLost, LaunchFailed
from selcgi.plan import Script

OWN = Context("system_u", "system_r", "selcgi_t", "s0")
TYPES = frozenset({"selcgi_t", "user_webapp_t", "staff_webapp_t", "anon_webapp_t"})
_HIGHEST_CATEGORY = 1023


class FakeLabels:
    """`refuses` are contexts that cannot be set; `comes_up_as` is what a process really gets, as by a broken policy."""

    def __init__(self, refuses: frozenset[str] = frozenset(), comes_up_as: Context | None = None) -> None:
        self.note = ""
        self.own: Context | None = OWN
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
        os.fstat(descriptor)
        return "system_u:object_r:selcgi_script_exec_t:s0"

    def peer_context(self, sock: socket.socket) -> Context | None:
        return OWN if sock.family == socket.AF_UNIX else None

    def explain_exec(self, context: Context | None, script: Script, error: OSError) -> tuple[str, str]:
        return f"cannot execute {os.fsdecode(script.path)} as {context}: {error.strerror}", "ask the policy"


def _canonical(wanted: str) -> str:
    """Categories in order, as the kernel prints them; a range of one level only."""
    level, _, categories = wanted.partition(":")
    if level != "s0" or not re.fullmatch(r"(c\d+(,c\d+)*)?", categories):
        raise LaunchFailed("context", f"the range {wanted} is invalid")
    numbers = sorted({int(each[1:]) for each in categories.split(",") if each})
    if numbers and numbers[-1] > _HIGHEST_CATEGORY:
        raise LaunchFailed("context", f"the range {wanted} is invalid")
    return f"{level}:{','.join(f'c{number}' for number in numbers)}" if numbers else level
