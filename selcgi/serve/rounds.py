"""Timers of requests, of which hardly one ever rings: one round past all of them, ten times a second.

Decides when a call is due: in the first round after its time. With the event loop, setting a timer and taking it back
costs each request as much as several system calls. Must not know what it calls. One for each worker, whose loop it
uses; used by serve/deadlines.py and serve/relay.py.
"""

import asyncio
import time

from selcgi.serve.poller import Call

_SECONDS = 0.1  # between two rounds, while there is a timer


class Alarm:
    """One timer that is set."""

    __slots__ = ("_among", "call", "when")

    def __init__(self, when: float, call: Call, among: "set[Alarm]") -> None:
        self.when, self.call, self._among = when, call, among
        among.add(self)

    def ring(self) -> None:
        """Unless it was cancelled meanwhile."""
        call = self.call
        self.cancel()
        call()

    def cancel(self) -> None:
        """Also when it has rung. The way back to the caller goes too: cycles would wait for the garbage collector."""
        self._among.discard(self)
        self.call = _nothing


class Rounds:
    """Has time() and call_at() of an event loop, to a tenth of a second."""

    time = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._alarms: set[Alarm] = set()
        self._going = False

    def call_at(self, when: float, call: Call) -> Alarm:
        if not self._going:
            self._go_on()
        return Alarm(when, call, self._alarms)

    def _go_on(self) -> None:
        self._going = True
        asyncio.get_running_loop().call_later(_SECONDS, self._round)

    def _round(self) -> None:
        self._going = False
        now = self.time()
        for alarm in [one for one in self._alarms if one.when <= now]:
            self._alarms.discard(alarm)
            asyncio.get_running_loop().call_soon(alarm.ring)  # what one raises is not the others'
        if self._alarms:
            self._go_on()


def _nothing() -> None:
    return None
