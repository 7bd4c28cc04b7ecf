"""All that selcgi asks of SELinux to run scripts, and the only module that sets a context.

Decides whether selcgi can keep its promise on this system (open_labels), and whether a context may be used (resolve).
One mechanism sets an exec context: setexeccon_raw; libselinux caches what it set last, so a second mechanism would
make it write nothing. Questions to the policy are policy.py's. Must not decide which context a request gets. Used by
launch/ and serve/.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from types import ModuleType
from typing import Protocol

from selcgi.context import Context, ContextSpec
from selcgi.errors import ContextLost, LaunchFailed, PolicyUnreadable, StartRefused
from selcgi.plan import Script
from selcgi.settings import SelinuxMode
from selcgi.system.binding import find_binding
from selcgi.system.facts import read_facts, refusal
from selcgi.system.policy import KernelPolicy, Policy, what_is_invalid
from selcgi.system.preflight import Attempt, Question, Step, first_missing, fix, questions
from selcgi.system.thread import exec_attribute, no_new_privileges

_EXEC_SECONDS = 2.0  # for an exec that has begun to give its process the new context
_EXEC_PAUSE = 0.0002
_RESOLVED_MOST = 4096  # contexts remembered between two loads of the policy
_AUDIT = "look for denials: ausearch -m avc,selinux_err -ts recent"


class Labels(Protocol):
    """What launch/ and serve/ need of SELinux. `note` goes into each log line: empty when all protection is on."""

    note: str
    own: Context | None  # selcgi's own context; None with --selinux off
    policy: Policy | None  # likewise

    def resolve(self, spec: ContextSpec) -> Context:
        """The whole, valid context in its canonical form. LaunchFailed("context") when it must not be used."""

    def exec_context(self, context: Context | None) -> AbstractContextManager[None]:
        """What is executed inside comes up in `context`. LaunchFailed("set_exec_context" or "clear_exec_context")."""

    def confirm(self, pid: int, context: Context | None) -> None:
        """ContextLost unless the process, not reaped yet, runs in `context`."""

    def file_label(self, descriptor: int) -> str:
        """The label of an open file, O_PATH or not; empty when it has none, or one that may not be read."""

    def peer_context(self, sock: socket.socket) -> Context | None:
        """Who is at the other end of the connection; None when its family carries no labels."""

    def explain_exec(self, context: Context | None, script: Script, error: OSError) -> tuple[str, str]:
        """Why the exec was refused, and what to do about it."""

    def lacking(self, context: Context | None, script: Script, steps: Collection[Step]) -> tuple[str, str]:
        """What the policy lacks of these steps of a launch, and what to do; both empty when it lacks nothing."""


def open_labels(mode: SelinuxMode) -> Labels:
    """For --selinux `mode`. StartRefused when the kernel would not stop a script that lost its context."""
    if mode == "off":
        return NoLabels()
    facts = read_facts(find_binding)
    refused = refusal(facts, permissive_ok=mode == "permissive-ok")
    if refused is not None or facts.own is None or facts.binding is None:
        raise refused or StartRefused("SELinux gave no context for selcgi")
    return KernelLabels(facts.binding, facts.own, permissive_ok=mode == "permissive-ok")


_NOTHING = nullcontext()


class NoLabels:
    """--selinux off: nothing confines a script but its Unix account. It must be asked for, and is shown."""

    def __init__(self) -> None:
        self.note = "selinux=off"
        self.own: Context | None = None
        self.policy: Policy | None = None

    def resolve(self, spec: ContextSpec) -> Context:
        return spec.without_kernel()

    def exec_context(self, context: Context | None) -> AbstractContextManager[None]:  # noqa: ARG002
        return _NOTHING

    def confirm(self, pid: int, context: Context | None) -> None:
        pass

    def file_label(self, descriptor: int) -> str:  # noqa: ARG002
        return ""

    def peer_context(self, sock: socket.socket) -> Context | None:  # noqa: ARG002
        return None

    def explain_exec(self, context: Context | None, script: Script, error: OSError) -> tuple[str, str]:  # noqa: ARG002
        return f"cannot execute {os.fsdecode(script.path)}: {error.strerror}", ""

    def lacking(self, context: Context | None, script: Script, steps: Collection[Step]) -> tuple[str, str]:  # noqa: ARG002
        return "", ""


class KernelLabels:
    """SELinux as it is. Made by open_labels() before the workers are forked; each works on its own copy."""

    def __init__(self, binding: ModuleType, own: Context, permissive_ok: bool) -> None:
        self.own: Context | None = own
        self.note = "selinux=permissive-ok" if permissive_ok else ""
        self._se = binding
        self._own = own
        self._permissive_ok = permissive_ok
        self._resolved: dict[ContextSpec, Context] = {}
        self._policy = KernelPolicy(binding)
        self.policy: Policy | None = self._policy
        self._load = self._policy.serial()

    def resolve(self, spec: ContextSpec) -> Context:
        """The kernel is asked once for each spec and load of the policy; whether it enforces, each time."""
        self._check_enforcing()
        self._forget_after_policy_load()
        context = self._resolved.get(spec)
        if context is None:
            try:
                context = self._canonical(spec)
                self._refuse_permissive(context)
            except PolicyUnreadable as error:
                raise LaunchFailed("context", error.reason, error.fix) from error
            if len(self._resolved) >= _RESOLVED_MOST:
                self._resolved.clear()
            self._resolved[spec] = context
        return context

    def _check_enforcing(self) -> None:
        # 0 is permissive; anything but 1 means that there is no answer.
        if not self._permissive_ok and self._se.selinux_status_getenforce() != 1:
            reason = "the kernel does not enforce SELinux any more"
            raise LaunchFailed("context", reason, "setenforce 1; or start with --selinux permissive-ok")

    def _forget_after_policy_load(self) -> None:
        load = self._policy.serial()
        if load != self._load:
            self._load = load
            self._resolved.clear()

    def _canonical(self, spec: ContextSpec) -> Context:
        wanted = spec.resolve(self._own)
        if wanted.domain == self._own.domain:
            reason = f"the rule gives the script selcgi's own domain {wanted.domain}"
            raise LaunchFailed("context", reason, "name the domain of a web application in the mapping")
        canonical = self._policy.canonical(str(wanted))
        if canonical is None:
            raise LaunchFailed("context", *what_is_invalid(self._policy, self._own, wanted))
        return Context.parse(canonical)

    def _refuse_permissive(self, context: Context) -> None:
        if self._permissive_ok:
            return
        if self._policy.vector(str(context), str(context), "process").permissive:
            reason = f"the domain {context.domain} is permissive: the policy would stop nothing"
            raise LaunchFailed("context", reason, f"semanage permissive -d {context.domain}")

    def exec_context(self, context: Context | None) -> AbstractContextManager[None]:
        """The exec context belongs to the thread (setexeccon(3)), and threads that it starts inherit it."""
        if context is None or threading.get_ident() != threading.main_thread().ident:
            raise LaunchFailed("set_exec_context", "only the main thread spawns, and never without a context")
        return _ExecContext(partial(self._set_exec, context), self._clear_exec)

    def _set_exec(self, context: Context) -> None:
        try:
            self._se.setexeccon_raw(str(context))
            seen = exec_attribute()
        except OSError as error:
            reason = f"the kernel does not take the exec context {context}: {error.strerror}"
            raise LaunchFailed("set_exec_context", reason, self._setexec_hint()) from error
        if seen != str(context):
            raise LaunchFailed("set_exec_context", f"the exec context reads {seen!r} where {context} was set")

    def _setexec_hint(self) -> str:
        own = str(self._own)
        rule = f"(allow {self._own.domain} {self._own.domain} (process (setexec)))"
        return _AUDIT if self._allowed(own, own, "process", "setexec") else f"allow it: {rule}"

    def _clear_exec(self) -> None:
        try:
            self._se.setexeccon_raw(None)
            seen = exec_attribute()
        except OSError as error:
            raise LaunchFailed("clear_exec_context", f"cannot clear the exec context: {error.strerror}") from error
        if seen:
            raise LaunchFailed("clear_exec_context", f"the exec context still reads {seen!r} after it was cleared")

    def confirm(self, pid: int, context: Context | None) -> None:
        deadline = time.monotonic() + _EXEC_SECONDS
        while (seen := self._context_of(pid)) == str(self._own) and time.monotonic() < deadline:
            # A vfork parent goes on once the new memory is in place, a moment before the new credentials are
            # (fs/exec.c, begin_new_exec: exec_mmap comes before commit_creds).
            time.sleep(_EXEC_PAUSE)
        if context is None or seen != str(context):
            raise ContextLost("confirm", f"process {pid} came up in {seen}, not in {context}", _AUDIT)

    def _context_of(self, pid: int) -> str:
        try:
            return str(self._se.getpidcon_raw(pid)[1])
        except OSError as error:
            hint = f"allow {self._own.domain} process {{ getattr }} on the script's domain"
            raise ContextLost("confirm", f"cannot read the context of process {pid}: {error.strerror}", hint) from error

    def file_label(self, descriptor: int) -> str:
        try:  # by its name in /proc: fgetxattr(2) takes no O_PATH
            return str(self._se.getfilecon_raw(f"/proc/self/fd/{descriptor}")[1])
        except OSError:
            return ""

    def peer_context(self, sock: socket.socket) -> Context | None:
        try:
            return Context.parse(self._se.getpeercon_raw(sock.fileno())[1])
        except (OSError, ValueError):
            return None

    def explain_exec(self, context: Context | None, script: Script, error: OSError) -> tuple[str, str]:
        path = os.fsdecode(script.path)
        if context is None:
            return f"cannot execute {path} without a context", ""
        attempt = self._attempt(context, script)
        missing = first_missing(attempt, self._allowed)
        if missing is None:
            return f"cannot execute {path} as {context}: {error.strerror}", f"the policy seems to allow it; {_AUDIT}"
        reason = f"cannot execute {path} as {context}: {error.strerror}, the policy lacks {missing}"
        return reason, fix(attempt, missing, self._allowed)

    def lacking(self, context: Context | None, script: Script, steps: Collection[Step]) -> tuple[str, str]:
        if context is None:
            return "", ""
        folders = [os.fsencode(folder) for folder in PurePath(os.fsdecode(script.path)).parents]
        labelled = tuple((os.fsdecode(folder), self._path_label(folder)) for folder in folders)
        attempt = replace(self._attempt(context, script), folders=labelled)
        for each in questions(attempt):
            if each.step in steps and not self._allowed(each.source, each.target, each.classname, each.permission):
                hidden = ", and a dontaudit rule keeps that out of the audit" if self._is_silent(each) else ""
                return f"the policy lacks {each}{hidden}", fix(attempt, each, self._allowed)
        return "", ""

    def _is_silent(self, asked: Question) -> bool:
        try:
            return asked.permission in self._policy.vector(asked.source, asked.target, asked.classname).silent
        except PolicyUnreadable:
            return False

    def _attempt(self, context: Context, script: Script) -> Attempt:
        return Attempt(
            own=self._own,
            target=context,
            path=os.fsdecode(script.path),
            label=script.label,
            interpreter=os.fsdecode(script.interpreter),
            interpreter_label=self._path_label(script.interpreter) if script.interpreter else "",
            no_new_privileges=no_new_privileges(),
            nosuid=bool(os.fstatvfs(script.descriptor).f_flag & os.ST_NOSUID),
        )

    def _path_label(self, path: bytes) -> str:
        try:
            return str(self._se.getfilecon_raw(os.fsdecode(path))[1])
        except OSError:
            return ""

    def _allowed(self, source: str, target: str, classname: str, permission: str) -> bool:
        try:
            return permission in self._policy.vector(source, target, classname).allowed
        except PolicyUnreadable:
            return False


class _ExecContext(AbstractContextManager[None]):
    """Sets, and clears whatever happens, a set that fails included."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._set, self._clear = enter, leave

    def __enter__(self) -> None:
        try:
            self._set()
        except BaseException:
            self._clear()
            raise

    def __exit__(self, *_: object) -> None:
        self._clear()
