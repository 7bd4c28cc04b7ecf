"""A fresh process for each request: from a Plan to a Running, by the steps that launch/steps.py lists.

Decides which of the two ways ends every descendant: a cgroup leaf where the worker has some, else a guard. Whatever
step fails, LaunchFailed names it, no process is left and every descriptor is closed. Must not log, wait for a script,
or decide what is launched. Called by serve/request.py.
"""

import contextlib
import os
import signal
from dataclasses import replace
from functools import partial

from selcgi.errors import LaunchFailed, ZygoteFailed
from selcgi.launch.guarded import Guards
from selcgi.launch.leafed import LeafRunning
from selcgi.launch.running import Running
from selcgi.launch.spawn import spawn
from selcgi.launch.steps import failed
from selcgi.launch.streams import Streams, make_streams
from selcgi.launch.warm import WarmRunning
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Plan
from selcgi.settings import Settings
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.processes import (
    forbid_core_dumps,
    keep_capabilities,
    keep_descriptors,
    occupy_standard_streams,
    reap,
    reap_strangers,
    set_child_subreaper,
)
from selcgi.system.selinux import Labels

WARM_FIX = "systemd: Delegate=yes in the unit; else see --cgroup"


class Launcher:
    """Starts scripts from the main thread of a process that has no other. `leaves` is None where none are delegated;
    then there are no `zygotes`."""

    def __init__(self, labels: Labels, leaves: Leaves | None, zygotes: Zygotes | None = None) -> None:
        """From here on this process leaves no core files, and its children get no capability and no descriptor but 0 to
        2. Where it has guards, all its children must be theirs to end."""
        self._labels = labels
        self._leaves = leaves
        self.zygotes = zygotes
        self._guards = Guards()
        if leaves is None:
            set_child_subreaper()
        occupy_standard_streams()
        keep_descriptors()
        keep_capabilities()
        forbid_core_dumps()

    def launch(self, plan: Plan) -> Running:
        """The script, running; behind a guard it may still turn out, by poll(), that it could not be started.

        LaunchFailed or ContextLost: nothing of it runs, nothing is open.
        """
        warm = plan.warm is not None and not (self._leaves is None and plan.warm.fallback)
        streams = make_streams(plan.empty_body, opened_here=warm)
        if warm:
            return self._launch_warm(plan, streams)
        try:
            if self._leaves is None:
                return self._guards.start(plan, streams, self._labels)
            return self._launch_in_leaf(plan, streams, self._leaves)
        except BaseException:
            streams.close_ours()
            raise
        finally:
            streams.close_theirs()

    def sweep(self) -> None:
        """Now and then: warm interpreters that are to go, and dead children that no request waits for. Where these have
        taken up every process, no request could begin, and none would end to take them away."""
        if self.zygotes is not None:
            self.zygotes.sweep()
        if self._leaves is not None:
            reap_strangers(self._leaves.scripts)

    def _launch_warm(self, plan: Plan, streams: Streams) -> Running:
        """The script's ends of the streams are the Running's until its process has them."""
        try:
            if self._leaves is None or self.zygotes is None:
                raise ZygoteFailed("warm interpreters need a cgroup v2 of selcgi's own, and it has none", WARM_FIX)
            leaf, rest = self._leaves.lease_for(plan.limits, apart=True)
            plan = replace(plan, limits=rest) if leaf.confined else plan
            try:
                return WarmRunning(plan, streams, self.zygotes, leaf)
            except BaseException:
                self._leaves.give_back(leaf)
                raise
        except BaseException:
            streams.close_theirs()
            streams.close_ours()
            raise

    def _launch_in_leaf(self, plan: Plan, streams: Streams, leaves: Leaves) -> Running:
        limits = plan.limits
        leaf, rest = leaves.lease_for(limits)
        plan = replace(plan, limits=rest) if leaf.confined else plan
        try:
            pid = spawn(plan, streams.theirs, self._labels, leaf, partial(_destroy, leaf))
            try:
                leaves.slow(leaf, limits)
                return LeafRunning(pid, streams, leaves, leaf)
            except (OSError, LaunchFailed) as error:
                _destroy(leaf, pid)
                raise error if isinstance(error, LaunchFailed) else failed("wait", error) from error
        except BaseException:
            leaves.give_back(leaf)
            raise


def open_launcher(settings: Settings, labels: Labels, leaves: Leaves | None) -> Launcher:
    """With zygotes, which need cgroups, where there are some."""
    if leaves is None:
        return Launcher(labels, None)
    return Launcher(labels, leaves, Zygotes(labels, leaves, settings.warm, settings.environ))


def _destroy(leaf: Leaf, pid: int) -> None:
    """End what was started and reap it; a killed process that has hardly begun does not keep us waiting."""
    leaf.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    reap(pid, wait=True)
