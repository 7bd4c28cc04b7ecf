"""What the kernel refused the scripts of this worker, from the denial listener to the line of each request.

Decides which request a refusal belongs to, and how long a request's line waits for it: the kernel tells a little later
(kauditd), so a line is written HOLD_SECONDS after its answer has gone out, and no answer ever waits. Without a listener
nothing waits, and selcgi works as ever; it is looked for again and again, later and later. Must not block. One for each
worker, made by serve/supervisor.py and serve/once.py; called by serve/request.py.
"""

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from selcgi.context import Context
from selcgi.errors import BadRecord, ZygoteFailed
from selcgi.launch.cold import Launcher
from selcgi.launch.running import Running
from selcgi.plan import Plan
from selcgi.serve.accesslog import Entry
from selcgi.serve.aftermath import suspect_silent
from selcgi.serve.case import Case
from selcgi.serve.denialpage import DenialPage, LastDenial, Told
from selcgi.serve.log import utc
from selcgi.serve.poller import Poller
from selcgi.system.audit import HELLO, LOST, PACKET_BYTES, Denial, decode
from selcgi.system.lineage import lineage
from selcgi.system.refusals import explain
from selcgi.system.selinux import Labels

LOG = logging.getLogger("selcgi")
HOLD_SECONDS = 0.1  # from the end of an answer to its line; in the test guest, a slow machine, it took 1 to 50 ms
LISTENER_TYPE = "selcgi_avc_t"
_LATE_SECONDS = 1.0  # after that line, to say in `selcgi status` whose a refusal was
_HELD_MOST = 4096  # lines that wait; the oldest is written at once when there are more
_ENDED_MOST = 1024
_STARTS_MOST = 64  # refusals of warm interpreters that are remembered: those of a failed start concern later requests
_DIGITS = 18  # of a number in a packet
_AT_ONCE = 32  # packets a turn of the loop
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds before the listener is looked for again

Then = Callable[[], None]


class Denials:
    """`path` is the listener's socket, None for no listener; `number` is that of the worker, of so many `workers`: the
    first one speaks for all where one is enough."""

    def __init__(self, path: Path | None, labels: Labels, page: DenialPage, number: int = 0, workers: int = 1) -> None:
        self._path = path if labels.policy is not None else None
        self._labels = labels
        self._page = page
        self._first, self._only = number == 0, workers == 1
        self._socket: socket.socket | None = None
        self._hears = False
        self._pause = _FIRST_PAUSE
        self._cases: dict[str, dict[int, Case]] = {}  # by context, then by identity
        self._held: deque[tuple[float, Case, Then]] = deque()
        self._ended: deque[tuple[float, Case]] = deque()
        self._starts: deque[Denial] = deque(maxlen=_STARTS_MOST)
        self._timer: asyncio.TimerHandle | None = None
        self._ends = frozenset((os.getpid(), os.getppid()))  # worker and supervisor: above them nothing is a script's

    def begin(self, loop: asyncio.AbstractEventLoop, poller: Poller) -> None:
        """In the worker, once: look for the listener from now on."""
        self._loop, self._poller = loop, poller
        if self._path is not None:
            self._connect(self._path)

    @property
    def heard(self) -> bool:
        """The listener is there and has said so: its socket may be there long before it is (systemd.socket(5))."""
        return self._hears

    def launch(self, launcher: Launcher, plan: Plan, entry: Entry) -> Running:
        """launcher.launch(plan); what the kernel refuses it from here on is the entry's."""
        if not self._hears:
            return launcher.launch(plan)
        case = Case(entry, str(plan.context), self._zygote_of(plan), time.time())
        entry.case = case
        for context in case.contexts:
            self._cases.setdefault(context, {})[id(case)] = case
        try:
            case.running = launcher.launch(plan)
        except ZygoteFailed as error:
            case.failed = error.pid
            for denial in self._starts:
                if denial.source == case.zygote and case.met(denial.pid):
                    case.add(denial, sure=True, skipped=0)
            raise
        return case.running

    def _zygote_of(self, plan: Plan) -> str:
        with suppress(ValueError):  # it has none, and so the launch fails
            return str(plan.zygote(self._labels.own) or "")
        return ""

    def settle(self, entry: Entry, then: Then) -> None:
        """Call `then` once it is known what the kernel refused: at once when nobody tells, or nothing was launched."""
        case = entry.case
        if not isinstance(case, Case):
            then()
            return
        case.ended = time.time()
        entry.time = utc(case.ended)
        self._held.append((self._loop.time() + HOLD_SECONDS, case, then))
        if len(self._held) > _HELD_MOST:
            self._release()
        self._wait()

    async def settled(self) -> None:
        """Until no line waits any more."""
        while self._held:
            await asyncio.sleep(HOLD_SECONDS)

    def close(self) -> None:
        """Write every line that waits, as it is, and hear no more."""
        while self._held:
            self._release()
        if self._timer is not None:
            self._timer.cancel()
        self._path = None
        self._disconnect()

    def _wait(self) -> None:
        if self._timer is None and self._held:
            self._timer = self._loop.call_at(self._held[0][0], self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            self._release()
        self._forget(now)
        self._wait()

    def _release(self) -> None:
        """The line of the oldest."""
        _, case, then = self._held.popleft()
        if self._labels.policy is not None:
            case.entry.denied = case.sentences(self._labels.policy)
            if self.heard:
                suspect_silent(case.entry)
        for text in case.entry.denied:
            self._page.add(LastDenial(case.ended, case.entry.id, case.entry.user, text))
        case.entry.case = None
        self._ended.append((self._loop.time() + _LATE_SECONDS, case))
        then()

    def _forget(self, now: float) -> None:
        while self._ended and (self._ended[0][0] <= now or len(self._ended) > _ENDED_MOST):
            _, case = self._ended.popleft()
            for context in case.contexts:
                there = self._cases[context]
                del there[id(case)]
                if not there:
                    del self._cases[context]

    def _connect(self, path: Path) -> None:
        """Or try again later."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(path))
            peer = self._labels.peer_context(sock)
            if peer is None or peer.domain != LISTENER_TYPE:
                raise PermissionError(0, f"it runs as {peer}, not in {LISTENER_TYPE}")
            self._poller.add_reader(sock.fileno(), self._readable)
        except OSError as error:
            sock.close()
            self._missing(error.strerror or str(error))
            return
        self._socket = sock

    def _greeted(self) -> None:
        self._hears = True
        self._pause = _FIRST_PAUSE
        self._page.counts[Told.HEARD] = 1
        if self._first:
            LOG.info("refusals of the kernel are told by the denial listener at %s", self._path)

    def _missing(self, why: str) -> None:
        if self._first and self._pause == _FIRST_PAUSE:
            LOG.info("no denial listener at %s: %s; what the kernel refuses is not in this log", self._path, why)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._loop.call_later(self._pause, self._again)

    def _again(self) -> None:
        if self._path is not None and self._socket is None:
            self._connect(self._path)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._poller.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._hears = False
            self._page.counts[Told.HEARD] = 0

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                packet = self._socket.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._disconnect()
                self._missing("it ended")
                return
            if packet == HELLO:
                self._greeted()
                continue
            if packet.startswith(LOST):  # of whose requests is not known
                with suppress(ValueError):
                    self._page.counts[Told.SKIPPED] += int(packet[len(LOST) :][:_DIGITS])
                continue
            with suppress(BadRecord):
                self._take(*decode(packet))

    def _take(self, denial: Denial, skipped: int) -> None:
        self._page.counts[Told.SKIPPED] += skipped
        cases, sure = self._cases_of(denial)
        waiting = [case for case in cases if case.entry.case is case]
        if _is_of_zygote(denial):
            self._starts.append(denial)
        for case in waiting:
            case.add(denial, sure, skipped)
        if waiting:
            self._page.counts[Told.JOINED] += 1
        elif cases:
            self._page.counts[Told.LATE] += 1
            self._show(denial, cases[0], sure)
        elif self._first and self._is_stray(denial):
            self._page.counts[Told.STRAY] += 1
            self._show(denial, None, True)

    def _cases_of(self, denial: Denial) -> tuple[list[Case], bool]:
        """Whose it is, and whether that is sure."""
        near = [case for case in self._near(denial) if case.covers(denial.when) or case.met(denial.pid)]
        if exact := [case for case in near if case.is_of(denial.pid)]:
            return exact[:1], True
        if near and denial.source == near[0].zygote:
            if waiting := [case for case in near if case.waited_for(denial.pid, denial.when)]:
                return waiting, True
            near = [case for case in near if case.running is None]  # no interpreter could be started for these
        if near and denial.source == near[0].context:  # else it may not be looked at, which would be refused, and told
            found = lineage(denial.pid, self._ends)
            if found is not None:
                return [case for case in near if case.holds(found)][:1], True
        return near, len(near) == 1 and (near[0].entry.alone or self._only)

    def _near(self, denial: Denial) -> list[Case]:
        """All that ran or run in the context of who was refused; when that is selcgi, in that of what it is about."""
        context = denial.target if denial.source == str(self._labels.own) else denial.source
        return list(self._cases.get(context, {}).values())

    def _is_stray(self, denial: Denial) -> bool:
        """Of selcgi itself, and of a warm interpreter that nobody waits for: what concerns another worker's is that
        worker's to count."""
        if str(self._labels.own) in (denial.source, denial.target):
            return True
        return self._only and _is_of_zygote(denial)

    def _show(self, denial: Denial, case: Case | None, sure: bool) -> None:
        if self._labels.policy is None:
            return
        text = (
            case.sentence(denial, sure, self._labels.policy)
            if case is not None
            else str(explain(denial, denial.comm or "something", self._labels.policy))
        )
        request, user = (case.entry.id, case.entry.user) if case is not None else ("", "")
        self._page.add(LastDenial(denial.when, request, user, text))


def _is_of_zygote(denial: Denial) -> bool:
    with suppress(ValueError):
        return Context.parse(denial.source).is_zygote
    return False
