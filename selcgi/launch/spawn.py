"""From a Plan and three descriptors to a process in its context: the one place where a script is executed.

Decides how: by descriptor or by path, by posix_spawn(3) (vfork: 0.6 ms) or by a fork where that can't do it. Runs
on the main thread only, in the worker or in a guard. Must not end requests. Used by launch/cold.py and guard.py.
"""

import errno
import os
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeGuard

from selcgi.errors import USED_UP, LaunchFailed, launch_failed
from selcgi.launch.child import Changes, fork_and_exec, to_rlimits
from selcgi.plan import Account, Limits, Plan, Script
from selcgi.system.executable import closed_to
from selcgi.system.leaves import Leaf
from selcgi.system.posixspawn import Image, spawn_process
from selcgi.system.selinux import Labels


def spawn(
    plan: Plan,
    streams: tuple[int, int, int],
    labels: Labels,
    leaf: Leaf | None,
    destroy: Callable[[int], None],
) -> int:
    """Pid of the script's process, leader of a session of its own, in `leaf`, seen to run in its context.

    LaunchFailed or ContextLost otherwise; a process that was started by then has been given to `destroy`.
    """
    check_unchanged(plan.script)
    check_limits(plan.limits)
    pid = 0
    try:
        with leaf if is_entered(leaf) else nullcontext(), labels.exec_context(plan.context):
            pid = _execute(plan, streams, labels, leaf)
        labels.confirm(pid, plan.context)
    except BaseException:
        if pid:
            destroy(pid)
        raise
    return pid


def check_unchanged(script: Script) -> None:
    """A `#!` script is opened once more, by its interpreter: it must be the file that was checked."""
    if not script.interpreter:
        return
    try:
        now = os.stat(script.path, follow_symlinks=False)  # noqa: PTH116 - bytes, and no object a request
    except OSError as error:
        raise _changed(script, str(error.strerror)) from error
    if (now.st_dev, now.st_ino, now.st_ctime_ns) != script.stamp:
        raise _changed(script, "another file or another version")


def _changed(script: Script, what: str) -> LaunchFailed:
    reason = f"{os.fsdecode(script.path)} was changed after it had been checked: {what}"
    return LaunchFailed("check_script", reason, "ask again; install scripts by rename(2)")


def check_limits(limits: Limits) -> None:
    """What no leaf holds by now, each process sets for itself; for one limit there is no such way."""
    if limits.cpus is not None:
        reason = "cpus= in the rule needs cgroup v2 with the cpu controller, and selcgi has been given none"
        raise LaunchFailed("set_limits", reason, "systemd: Delegate=yes in the unit; or write cpu= or nice=")


def is_entered(leaf: Leaf | None) -> TypeGuard[Leaf]:
    """Whether the worker moves there, so that its child is born inside. Ceilings would be its own, too."""
    return leaf is not None and leaf.directory < 0 and not leaf.confined


def execute(image: Image, leaf: Leaf | None, account: Account | None, limits: Limits) -> int:
    """Pid of the process. OSError from the exec itself, LaunchFailed from a step before."""
    moves = leaf is not None and leaf.directory < 0 and leaf.confined
    if account is not None or limits.for_each_process or moves:
        members = -1 if leaf is None or is_entered(leaf) else leaf.procs
        return fork_and_exec(image, Changes(members, to_rlimits(limits), limits.nice, account))
    return spawn_process(image, -1 if leaf is None else leaf.directory)


def _execute(plan: Plan, streams: tuple[int, int, int], labels: Labels, leaf: Leaf | None) -> int:
    image = Image(_path(plan), plan.argv, plan.environ, streams, plan.script.directory)
    try:
        return execute(image, leaf, plan.account, plan.limits)
    except OSError as error:
        if error.errno in USED_UP:
            raise launch_failed("exec", f"cannot start {os.fsdecode(plan.script.path)}", error) from error
        if min(streams) < 0 and not os.access(os.devnull, os.R_OK):
            raise LaunchFailed("make_streams", f"{os.devnull} can't be read", "see that it is there") from error
        reason, fix = _explain(plan, labels, error)
        raise LaunchFailed("exec", reason, fix) from error


def _path(plan: Plan) -> bytes:
    """A binary by its descriptor, the very file that was checked. A `#!` script by its path: it ends up in $0."""
    if plan.script.interpreter:
        return plan.script.path
    return b"/proc/self/fd/%d" % plan.script.descriptor


def _explain(plan: Plan, labels: Labels, error: OSError) -> tuple[str, str]:
    """Why the exec failed, and what to do. What Unix alone explains comes first, the policy after it."""
    script = plan.script
    path, interpreter = os.fsdecode(script.path), os.fsdecode(script.interpreter)
    if error.errno == errno.ENOEXEC:
        return f"{path} has neither a #! line nor a binary format", "give it a #! line with an absolute path"
    if error.errno == errno.ENOENT:
        missing = f"its interpreter {interpreter}" if interpreter else "the program loader that it names"
        return f"{path} cannot run: {missing} does not exist", "install it, or correct the script"
    if error.errno == errno.EACCES:
        for each in filter(None, (script.path, script.interpreter)):
            if found := _closed(plan.account, each):
                return found
    return labels.explain_exec(plan.context, script, error)


def _closed(account: Account | None, path: bytes) -> tuple[str, str] | None:
    """Why whom the script runs as may not execute a file, and what to do; None when its mode lets him."""
    if account is not None:
        return closed_to(account, path)
    if os.access(path, os.X_OK):
        return None
    name = os.fsdecode(path)
    fix = f"chmod +x {shlex.quote(name)}, or mount without noexec"
    return f"{name} is not executable for uid {os.geteuid()}", fix
