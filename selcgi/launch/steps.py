"""The steps of a launch, in their order, and the one way in which a step fails.

The order is the security argument. Each name below is what a log line shows as `step` when that step failed; then
nothing of the script runs. Must not do a step. Used by launch/ alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from selcgi.errors import LaunchFailed, launch_failed

STEPS = (
    "make_streams",  # before anything that would have to be undone by killing
    "guard",  # where no cgroup is delegated: everything below happens in the fork
    "lease_leaf",
    "set_ceilings",  # of the leaf, before anything is in it
    "check_script",  # as late as can be: a `#!` script is opened again, by its path
    "enter_leaf",  # the child is born inside, or in the child, where it forks; what is executed was never outside
    "set_exec_context",  # the last thing before the spawn, so that it covers no other one
    "zygote",  # of a warm start: from here on a child of the zygote does the rest to itself
    "enter_directory",  # in the child, before the account is changed: selcgi has opened and checked it
    "set_limits",  # in the child, before the account is changed: a hard limit may only be lowered after it
    "set_account",  # in the child
    "enter_context",  # in the zygote's child, in place of the exec
    "exec",
    "clear_exec_context",  # before anything else can be spawned
    "leave_leaf",  # before the leaf can be killed
    "wait",  # a descriptor that tells of its end, before it can be reaped
    "confirm",  # before a byte of its output is looked at
)


@contextmanager
def step(name: str) -> Iterator[None]:
    """What goes wrong inside is a LaunchFailed with this name."""
    try:
        yield
    except OSError as error:
        raise failed(name, error) from error


def failed(name: str, error: OSError) -> LaunchFailed:
    """The same where every request passes and a context manager would cost it some microseconds."""
    assert name in STEPS, name
    return launch_failed(name, f"{name} failed", error)
