"""The zygotes of one worker: one for each application, started when it is first asked for.

Decides which one serves a request, and when one must go: another version of its script, another policy, too many
requests, too long without one, too many zygotes, an own wish. One that could not start is not tried again for a
moment: all its requests get the same answer. Must not know sockets of the web server. Used by launch/warm.py; the
worker calls begin(), launch/cold.py sweep().
"""

import os
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Protocol

from selcgi.context import ContextSpec
from selcgi.errors import ContextLost, LaunchFailed, ZygoteFailed
from selcgi.launch.program import PACKAGE, open_program
from selcgi.launch.steps import failed
from selcgi.launch.zygote import Application, Watcher, Zygote, ZygoteGone
from selcgi.plan import Plan, Script, Warm
from selcgi.settings import EnvironRules, WarmSettings
from selcgi.system.executable import HEAD_BYTES, read_first_line
from selcgi.system.leaves import Leaves
from selcgi.system.preflight import Step
from selcgi.system.selinux import Labels
from selcgi.zygote.frames import Setup

_AGAIN_SECONDS = 2.0  # until one that could not start is tried again
_END_SECONDS = 30.0  # for one that retires, until it is killed
_FAILURES = 256  # remembered


class Observer(Protocol):
    """Who tells the administrator."""

    def changed(self, zygote: Zygote) -> None:
        """It is there, or its state or what it has served is another."""

    def said(self, zygote: Zygote, line: str) -> None:
        """A line of its output."""

    def forked(self) -> None:
        """A request has its process, made by a zygote."""

    def retried(self) -> None:
        """A request gets a second zygote: the first one has ended before it took it."""

    def fell_back(self, script: str, error: ZygoteFailed) -> None:
        """A request gets a fresh program, since no zygote can be had."""


class Zygotes:
    """Made in the worker itself; until begin(), none is had."""

    def __init__(self, labels: Labels, leaves: Leaves, settings: WarmSettings, environ: EnvironRules) -> None:
        self.settings = settings
        self.labels = labels
        self.leaves = leaves
        self._environ = {os.fsencode(name): os.fsencode(value) for name, value in environ.fixed}
        self._environ.setdefault(b"PATH", os.fsencode(environ.path))
        self._there: dict[Application, Zygote] = {}
        self._leaving: list[Zygote] = []
        self._failures: dict[Application, tuple[float, LaunchFailed]] = {}  # until when, and why
        self._watcher: Watcher | None = None
        self._observer: Observer | None = None

    def begin(self, watcher: Watcher, observer: Observer) -> None:
        """From here on zygotes can be had."""
        self._watcher, self._observer = watcher, observer

    def get(self, plan: Plan) -> Zygote:
        """The one for `plan`, which may still be starting. ZygoteFailed when there can be none; ContextLost when it
        came up in another context than its own."""
        assert plan.warm is not None
        application = self._application(plan, plan.warm)
        zygote = self._there.get(application)
        if zygote is not None:
            self._look(zygote)
            if why := self._outdated(zygote, plan):
                self._retire(zygote, why)
        if application not in self._there:
            self._check_failure(application)
            self._make_room()
            self._start(application, plan)
        return self._there[application]

    def lend(self, zygote: Zygote, descriptors: tuple[int, ...]) -> float:
        """Hand it a request; when that was. ZygoteFailed when it takes none."""
        try:
            asked = zygote.lend(descriptors)
        except ZygoteGone as error:
            self._look(zygote)
            if zygote.state != "ended":  # it has no end of the socket, and would never be heard of again
                self._kill(zygote, error.reason)
            raise
        self._tell(zygote)
        if 0 < self.settings.requests <= zygote.served:
            self._retire(zygote, f"it has served {zygote.served} requests")
        return asked

    def forked(self) -> None:
        """A request has its process."""
        if self._observer is not None:
            self._observer.forked()

    def retried(self) -> None:
        """A request comes a second time."""
        if self._observer is not None:
            self._observer.retried()

    def fell_back(self, plan: Plan, error: ZygoteFailed) -> None:
        """A request does without."""
        if self._observer is not None:
            self._observer.fell_back(os.fsdecode(plan.script.path), error)

    def sweep(self) -> None:
        """Now and then: what is idle for too long, does not get ready, takes no request, or has ended."""
        now, most = time.monotonic(), self.settings.start_seconds
        for zygote in (*self._there.values(), *self._leaving):
            zygote.hear()
        for zygote in list(self._there.values()):
            ended = zygote.has_ended()
            self._look(zygote)
            if ended and zygote.state != "ended":
                self._kill(zygote, "it ended, and something that it has started holds its socket open")
            elif zygote.state == "starting" and now - zygote.since > most:
                self._kill(zygote, f"it was not ready within {most:g} s")
            elif (since := zygote.silent_since()) is not None and now - since > most:
                self._kill(zygote, f"it has not taken a request for {most:g} s")
            elif now - zygote.used > self.settings.idle_seconds:
                self._retire(zygote, "it was idle")
        for zygote in list(self._leaving):
            if zygote.state == "retiring" and now - zygote.used > _END_SECONDS:
                zygote.kill(zygote.why)
                self._tell(zygote)
            if zygote.state == "ended":
                self._bury(zygote)

    def close(self) -> None:
        """End all of them, at once."""
        for zygote in (*self._there.values(), *self._leaving):
            zygote.close()
        self._there.clear()
        self._leaving.clear()

    def _application(self, plan: Plan, warm: Warm) -> Application:
        try:
            context = plan.zygote(self.labels.own)
        except ValueError as error:
            fix = "name a domain of the template in contrib/selinux, or leave warm= out"
            raise ZygoteFailed(str(error), fix) from None
        return Application(plan.script.path, context, plan.account, warm.application)

    def _outdated(self, zygote: Zygote, plan: Plan) -> str:
        if zygote.stamp != plan.script.stamp:
            return "its script has changed"
        return "the policy was loaded anew" if zygote.serial != self._serial() else ""

    def _serial(self) -> int:
        policy = self.labels.policy
        return 0 if policy is None else policy.serial()

    def _check_failure(self, application: Application) -> None:
        until, error = self._failures.get(application, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise _refusal(error)

    def _make_room(self) -> None:
        if len(self._there) >= self.settings.zygotes:
            self._retire(min(self._there.values(), key=lambda one: one.used), "another application needs its place")

    def _start(self, application: Application, plan: Plan) -> None:
        if self._watcher is None:
            raise ZygoteFailed("no warm interpreters are served here")
        self._ask_policy(application, plan.script)
        try:
            zygote = Zygote(application, plan.script.stamp, self._serial(), self.labels, self.leaves)
        except OSError as error:
            raise _refusal(error) from error
        try:
            self._bring_up(zygote, plan, self._watcher)
        except BaseException as error:
            zygote.kill(str(error))
            self._tell(zygote)
            zygote.close()
            if not isinstance(error, (OSError, LaunchFailed)):
                raise
            self._remember(application, _refusal(error))
            raise _refusal(error) from error
        self._there[application] = zygote
        self._tell(zygote)

    def _bring_up(self, zygote: Zygote, plan: Plan, watcher: Watcher) -> None:
        """OSError or LaunchFailed."""
        with closing(open_program(self.labels)) as program:
            zygote.start(program, (program.path, PACKAGE), self._environ)
        zygote.set_up(self._setup(plan), plan.script)
        zygote.watch(watcher, partial(self._look, zygote), partial(self._read_log, zygote))

    def _ask_policy(self, application: Application, script: Script) -> None:
        """What the kernel would not stop, or not explain: a permissive domain, a script that does not arrive."""
        context = application.context
        if context is None:
            return
        try:
            self.labels.resolve(ContextSpec(context.domain, context.range, context.user, context.role))
        except LaunchFailed as error:
            raise ZygoteFailed(f"no warm interpreter can be had as {context}: {error.reason}", error.fix) from error
        read = replace(script, interpreter=script.interpreter or b"python3")  # a WSGI file may have no first line
        reason, fix = self.labels.lacking(context, read, {Step.READ})
        if reason and script.label:
            raise ZygoteFailed(f"a warm interpreter as {context} can't read the script: {reason}", fix)

    def _setup(self, plan: Plan) -> Setup:
        assert plan.warm is not None
        interpreter, flags = read_first_line(os.pread(plan.script.descriptor, HEAD_BYTES, 0)) or (b"", b"")
        return Setup(
            script=os.fsdecode(plan.script.path),
            interpreter=os.fsdecode(interpreter),
            flags=os.fsdecode(flags),
            application=plan.warm.application,
            preloads=self.settings.preloads,
            growth_bytes=self.settings.growth_bytes,
            confined=self.labels.own is not None,
        )

    def _look(self, zygote: Zygote) -> None:
        before = zygote.state
        zygote.look()
        if zygote.state != before:
            self._tell(zygote)
        if zygote.state in ("retiring", "ended"):
            self._leave(zygote)

    def _retire(self, zygote: Zygote, why: str) -> None:
        zygote.retire(why)
        self._tell(zygote)
        self._leave(zygote)

    def _kill(self, zygote: Zygote, why: str) -> None:
        zygote.kill(why)
        self._tell(zygote)
        self._leave(zygote)

    def _leave(self, zygote: Zygote) -> None:
        """It serves no further request."""
        if self._there.get(zygote.application) is zygote:
            del self._there[zygote.application]
            self._leaving.append(zygote)
            if zygote.failed:
                error = ZygoteFailed(f"no warm interpreter: {zygote.why}", zygote.fix, pid=zygote.pid)
                self._remember(zygote.application, error)
            self._hurry()

    def _hurry(self) -> None:
        """No more may leave than may be there: the first ones are killed. Requests that such a one has served go on, in
        cgroups of their own; those that it has not taken come to another."""
        for zygote in self._leaving[: -self.settings.zygotes]:
            if zygote.state == "retiring":
                zygote.kill(f"{zygote.why}; so many others end, too")
                self._tell(zygote)
            self._bury(zygote)

    def _remember(self, application: Application, error: LaunchFailed) -> None:
        if len(self._failures) >= _FAILURES:
            self._failures.clear()
        self._failures[application] = time.monotonic() + _AGAIN_SECONDS, error

    def _bury(self, zygote: Zygote) -> None:
        if zygote.gone():
            self._leaving.remove(zygote)

    def _read_log(self, zygote: Zygote) -> None:
        for line in zygote.read_log():
            if self._observer is not None:
                self._observer.said(zygote, line)

    def _tell(self, zygote: Zygote) -> None:
        if self._observer is not None:
            self._observer.changed(zygote)


def _refusal(error: OSError | LaunchFailed) -> LaunchFailed:
    """What each request is told that would have had this zygote. A lost context stays what it is: no fresh program
    covers that up."""
    if isinstance(error, OSError):
        error = failed("zygote", error)
    if isinstance(error, ContextLost):
        return ContextLost(error.step, error.reason, error.fix)
    pid = error.pid if isinstance(error, ZygoteFailed) else 0
    return ZygoteFailed(error.reason, error.fix, error.step, pid)
