"""The deadlines of one request: total, first byte, idle, write stall, with one lazy timer of serve/rounds.py.

Decides which one has passed. Moving a deadline is an assignment; the timer looks at the clock when it fires and sleeps
on, so a byte costs no timer call. Must not signal anybody: it calls back once, with the error. Used by serve/relay.py.
"""

from collections.abc import Callable
from typing import Protocol

from selcgi.errors import DeadlineExceeded
from selcgi.plan import Limits
from selcgi.settings import Settings

_FIX = {
    "total": "raise --timeout, or timeout= in the rule, if the script may take that long",
    "first-byte": "raise --first-byte-timeout, or first-byte-timeout= in the rule, if the script may think that long",
    "idle": "raise --idle-timeout, or idle-timeout= in the rule, if the script may pause that long",
    "write": "see why the web server takes no bytes of the response",
}


class Timer(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """What is asked of serve/rounds.py."""

    def time(self) -> float: ...
    def call_at(self, when: float, call: Callable[[], object]) -> Timer: ...


def _ignore(_: DeadlineExceeded) -> None:
    return None


class Deadlines:
    """Calls `missed` once when one of the four has passed. Seconds are of the monotonic clock."""

    def __init__(
        self,
        timers: Timers,
        limits: Limits,
        settings: Settings,
        missed: Callable[[DeadlineExceeded], None],
    ) -> None:
        self._timers = timers
        self._limits, self._write_seconds = limits, settings.write_seconds
        self._missed = missed
        self._began = now = timers.time()
        self._headless: float | None = now  # since when there is no head; None: there is one
        self._idle: float | None = now  # since when no byte has moved; None: while the web server takes none
        self._untaken: float | None = None  # since when the web server has taken none of what waits
        self._timer: Timer | None = None

    def look(self) -> None:
        """See whether one has passed, now and whenever the next may have: first when the script has run for a moment,
        as most never do. Each counts from the beginning."""
        due, name, seconds = self._next()
        now = self._timers.time()
        if due > now:
            # A stall may begin at any time, and nobody then wakes the timer: it never sleeps longer than one may last.
            self._timer = self._timers.call_at(min(due, now + self._write_seconds), self.look)
            return
        self._timer = None
        self._missed(DeadlineExceeded(name, f"the {name} deadline of {seconds:g} s passed", _FIX[name]))

    def moved(self) -> None:
        """A byte went in or out of the script."""
        if self._idle is not None:
            self._idle = self._timers.time()

    def answered(self) -> None:
        """The response head is complete."""
        self._headless = None

    def waiting(self, blocked: bool) -> None:
        """The web server has (not) taken all that it was sent. While it does not, the script may idle."""
        if blocked == (self._untaken is None):
            now = self._timers.time()
            self._untaken, self._idle = (now, None) if blocked else (None, now)

    def taken(self) -> None:
        """The web server took some of what waits for it."""
        if self._untaken is not None:
            self._untaken = self._timers.time()

    def stop(self) -> None:
        """No call any more. The way back to the caller goes too: cycles would wait for the garbage collector."""
        self._missed = _ignore
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> tuple[float, str, float]:
        """When the first will pass, its name and its seconds."""
        limits = self._limits
        running = (
            (self._began, "total", limits.total_seconds),
            (self._headless, "first-byte", limits.first_byte_seconds),
            (self._idle, "idle", limits.idle_seconds),
            (self._untaken, "write", self._write_seconds),
        )
        return min((since + seconds, name, seconds) for since, name, seconds in running if since is not None)
