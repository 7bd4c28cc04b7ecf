"""How far a request's end has come: the states of a Relay, one way only.

Decides nothing: serve/relay.py does. Must not know what is done in each.
"""

from enum import Enum


class Phase(Enum):
    """RUNNING until the script exits; LINGERING for output that its background jobs still hold open; TERMINATING from
    an error until the grace is over; KILLING until no process is left; GONE while the last output is sent."""

    __hash__ = object.__hash__  # an Enum's own is written in Python

    RUNNING = "running"
    LINGERING = "lingering"
    TERMINATING = "terminating"
    KILLING = "killing"
    GONE = "gone"
