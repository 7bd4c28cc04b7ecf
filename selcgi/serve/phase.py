"""How far a request's end has come: the states of a Relay, one way only.

Decides nothing: serve/relay.py does. Must not know what is done in each.
"""

from enum import Enum

from selcgi.errors import LaunchFailed

UNKILLABLE_SECONDS = 10.0  # after KILL; a process that is still there waits in the kernel


class Phase(Enum):
    """RUNNING until the script exits; LINGERING for output that its background jobs still hold open; TERMINATING from
    an error until the grace is over; KILLING until no process is left; GONE while the last output is sent."""

    __hash__ = object.__hash__  # an Enum's own is written in Python

    RUNNING = "running"
    LINGERING = "lingering"
    TERMINATING = "terminating"
    KILLING = "killing"
    GONE = "gone"


def unkillable() -> LaunchFailed:
    """KILLING does not end."""
    reason = f"processes of the request are still there {UNKILLABLE_SECONDS:g} s after SIGKILL"
    return LaunchFailed("kill", reason, "see what they wait for in the kernel (ps -o pid,stat,wchan)")
