"""From a Plan and three descriptors to a process in its context: the one place where a script is executed.

Decides how: by descriptor or by path, by posix_spawn(3) (vfork: 0.6 ms) or by a fork where that can't do it. Runs
on the main thread only, in the worker or in a guard. Must not end requests. Used by launch/cold.py and guard.py.
"""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from selcgi.errors import LaunchFailed
from selcgi.launch.child import Image, fork_and_exec, to_rlimits
from selcgi.launch.steps import failed
from selcgi.plan import Plan, Script
from selcgi.system.processes import RESETTABLE
from selcgi.system.selinux import Labels


def spawn(
    plan: Plan,
    streams: tuple[int, int, int],
    labels: Labels,
    place: AbstractContextManager[None],
    destroy: Callable[[int], None],
) -> int:
    """Pid of the script's process, leader of a session of its own, seen to run in its context.

    `place` is entered around the spawn alone. LaunchFailed or ContextLost otherwise; a process that was started by
    then has been given to `destroy`.
    """
    check_unchanged(plan.script)
    pid = 0
    try:
        with place, _Inside(plan.script.directory), labels.exec_context(plan.context):
            pid = _execute(plan, streams, labels)
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


class _Inside:
    """The script starts in its own directory; posix_spawn inherits it, so the worker goes there and back."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._before = -1

    def __enter__(self) -> None:
        try:
            self._before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fchdir(self._directory)
            except OSError:
                os.close(self._before)
                raise
        except OSError as error:
            raise failed("enter_directory", error) from error

    def __exit__(self, *_: object) -> None:
        try:
            os.fchdir(self._before)
        except OSError as error:
            raise failed("enter_directory", error) from error
        finally:
            os.close(self._before)


def _execute(plan: Plan, streams: tuple[int, int, int], labels: Labels) -> int:
    try:
        if plan.account is None and not plan.limits.needs_rlimits:
            return _posix_spawn(plan, streams)
        rlimits = to_rlimits(plan.limits)
        return fork_and_exec(Image(_path(plan), plan.argv, plan.environ, streams, rlimits, plan.account))
    except OSError as error:
        reason, fix = _explain(plan, labels, error)
        raise LaunchFailed("exec", reason, fix) from error


def _posix_spawn(plan: Plan, streams: tuple[int, int, int]) -> int:
    return os.posix_spawn(
        _path(plan),
        plan.argv,
        plan.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(streams)],
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULT,
    )


# Python ignores SIGPIPE and SIGXFSZ, a caller may have ignored others (nohup): a script expects none of it.
_DEFAULT = sorted(RESETTABLE, key=int)


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
    if error.errno == errno.EACCES and plan.account is None:
        for each in filter(None, (script.path, script.interpreter)):
            if not os.access(each, os.X_OK):
                name = os.fsdecode(each)
                return f"{name} is not executable for uid {os.geteuid()}", f"chmod +x {name}, or mount without noexec"
    return labels.explain_exec(plan.context, script, error)
