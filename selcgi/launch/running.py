"""A launched script as its request sees it: three streams, one descriptor that wakes, and the means to end it.

Decides the interface that both ways of ending every descendant (a cgroup leaf, a guard) offer, so that the relay
does not know which one it has. Must not log and must not block. Made by launch/cold.py, used by serve/relay.py.
"""

from typing import Protocol

from selcgi.plan import Exit


class Running(Protocol):
    """One process tree. The caller owns the streams (-1: none) and closes them; the rest goes with close()."""

    pid: int  # of the script; 0 until it is known
    root: int  # pid of whom all processes of the request descend from: the guard, or the script
    cgroup: str  # where they all are, as the end of a path in /proc/PID/cgroup; empty without one
    stdin: int  # write end, non-blocking; -1 when the body is empty
    stdout: int  # read end, non-blocking
    stderr: int  # read end, non-blocking
    warm: bool  # it is a fork of a warm interpreter
    # Readable whenever poll() has something new; a poll() may put another in its place, until close(). -1 until a poll
    # that finds no end: so long, the end of stdout tells, of nearly all scripts.
    wake: int

    def poll(self) -> None:
        """Take in what is new after `wake` became readable. LaunchFailed or ContextLost if it never ran."""

    @property
    def confirmed(self) -> bool:
        """The process runs in the planned context: its output may be forwarded. False at first behind a guard."""

    def waited_for(self, pid: int, when: float) -> bool:
        """Whether it waited for the warm interpreter of that pid at a time, in seconds since the epoch."""

    @property
    def exit(self) -> Exit | None:
        """Set once the script itself has ended; its descendants may still be there."""

    @property
    def met(self) -> str:
        """The limit of all its processes together that they have met, as a rule names it; "" when none is known."""

    @property
    def gone(self) -> bool:
        """Set once no process of the request is left. Becomes true after kill()."""

    def terminate(self) -> None:
        """SIGTERM to the script's whole process group."""

    def kill(self) -> None:
        """SIGKILL to every descendant, setsid or not; `wake` tells when `gone` is true."""

    def close(self) -> None:
        """Give back what the launch holds (never the three streams). Only when `gone`, or at a worker's end."""
