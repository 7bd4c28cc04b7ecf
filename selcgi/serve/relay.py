"""Between a running script and its web server: body in, answer out, and the end of every process of the request.

Decides how a request ends: the phases below, one way only. Whatever happens, the script's whole process tree is
killed and seen gone before run() returns, so that a finished response means that nothing of it runs any more.
Must not format log lines or pages. Used by serve/request.py.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from selcgi.errors import ClientGone, DeadlineExceeded, SelcgiError, unexpected
from selcgi.launch.running import Running
from selcgi.plan import Limits
from selcgi.serve.answer import Answer
from selcgi.serve.bypass import Bypass
from selcgi.serve.deadlines import Deadlines
from selcgi.serve.exchange import Exchange
from selcgi.serve.feeder import Feeder
from selcgi.serve.met import limit_met
from selcgi.serve.outlets import Outlets
from selcgi.serve.phase import UNKILLABLE_SECONDS, Phase, unkillable
from selcgi.serve.poller import attempt
from selcgi.serve.splicing import PIECE
from selcgi.serve.stderr import StderrLog
from selcgi.serve.wake import Wake
from selcgi.settings import Settings


class Relay:
    """Owns the three streams of `running`. run() raises the error that ended the request, if one did."""

    def __init__(
        self, running: Running, exchange: Exchange, answer: Answer, limits: Limits, settings: Settings
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._running, self._exchange = running, exchange
        self._limits, self._settings, self._answer = limits, settings, answer
        self._bypass: Bypass | None = None  # for an answer that is large
        self._feeder = Feeder(exchange, running.stdin, self._stdin_writable, self._failed)
        self._stderr: StderrLog | None = None  # for what comes there
        self._deadlines = Deadlines(exchange.rounds, limits, settings, self._fail)
        self._phase = Phase.RUNNING
        self._error: SelcgiError | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._late = exchange.rounds.call_at(0.0, partial(attempt, self._goes_on, self._failed))
        self._wake, self._outlets = Wake(exchange.poller, running), Outlets(exchange.poller, running)

    async def run(self) -> None:
        """Until every process is gone and the answer is with the web server, or the request has failed."""
        self._exchange.on_input = partial(attempt, self._input, self._failed)
        self._exchange.on_output = partial(attempt, self._output, self._failed)
        try:
            self._wake.watch(self._woken, self._failed)
            self._listen()
            self._exchange.on_input()
            await self._over
        finally:
            self._release()
        if self._error is not None:
            raise self._error

    def _failed(self, error: Exception) -> None:
        """Any bug ends the request, in the open."""
        self._fail(error if isinstance(error, SelcgiError) else unexpected(error, "the relay"))

    def _input(self) -> None:
        """The body has grown, ended or failed, or the client has left."""
        if self._exchange.aborted:
            if not self._delivered:
                raise ClientGone(f"{self._exchange.why_gone} before the response was complete")
            return  # the script goes on to its end: what it does after its answer must not depend on the client's haste
        if self._exchange.body.error is not None:
            raise self._exchange.body.error
        if not self._feeder.closed:
            self._stdin_writable()

    @property
    def _delivered(self) -> bool:
        """Everybody has what they wait for: the web server the answer, the script its body."""
        fed = self._feeder.closed or self._exchange.body.arrived
        return fed and self._answer.complete and not self._exchange.unsent

    def _stdin_writable(self) -> None:
        """The script reads on, or has closed its end."""
        self._deadlines.moved()
        self._feeder.push()
        self._flow()

    def _output(self) -> None:
        self._deadlines.taken()
        self._flow()

    def _woken(self) -> None:
        """Something became of the processes."""
        self._running.poll()
        if self._running.gone:
            self._set_phase(Phase.GONE)
        else:
            self._wake.watch(self._woken, self._failed)
            if self._running.exit is not None:
                self._exited()
        self._flow()

    def _hung_up(self) -> None:
        """Nobody holds stdout any more. Of most scripts that is the end, so that nothing else need be watched."""
        if self._running.wake < 0:
            self._woken()

    def _goes_on(self) -> None:
        """It is none of those that end at once, or others hold its stdout: then its end is seen from now on, a tenth of
        a second after it at the latest."""
        self._listen_to_stderr()
        self._watch_end()
        self._deadlines.look()

    def _watch_end(self) -> None:
        """In each round, as long as no descriptor is left for it."""
        self._hung_up()
        if self._running.wake < 0 and self._error is None:
            self._late = self._exchange.rounds.call_at(0.0, partial(attempt, self._watch_end, self._failed))

    def _exited(self) -> None:
        if self._phase is Phase.RUNNING and self._outlets.open:
            self._set_phase(Phase.LINGERING)
        elif self._phase in (Phase.RUNNING, Phase.TERMINATING):
            self._set_phase(Phase.KILLING)

    def _set_phase(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
        _ENTER[phase](self)

    def _linger(self) -> None:
        self._listen_to_stderr()  # its end may be what tells first that nobody else is left
        self._timer = self._loop.call_later(self._settings.linger_seconds, self._set_phase, Phase.KILLING)

    def _terminate(self) -> None:
        self._running.terminate()
        self._timer = self._loop.call_later(self._settings.kill_grace_seconds, self._set_phase, Phase.KILLING)
        attempt(self._woken, self._failed)

    def _kill(self) -> None:
        self._timer = self._loop.call_later(UNKILLABLE_SECONDS, self._unkillable)
        attempt(self._running.kill, self._failed)
        attempt(self._woken, self._failed)  # what is gone by now need not wake us any more

    def _unkillable(self) -> None:
        self._error = unkillable()
        self._finish()

    def _gone(self) -> None:
        self._wake.unwatch()
        self._feeder.close()
        self._outlets.settle()
        if self._error is not None:
            self._finish()

    def _fail(self, error: SelcgiError) -> None:
        """The request can't succeed any more. The first error counts."""
        if self._error is not None or self._over.done():
            return
        self._error = error
        if self._phase is Phase.RUNNING:  # it may have ended, and nobody has looked yet
            with suppress(Exception):  # without memory, even that fails: then it is killed as if it still ran
                self._running.poll()
        self._exchange.entry.killed_by = "" if self._running.exit else error.step
        if self._running.stderr in self._outlets.open:  # its last words may say why
            attempt(self._stderr_readable, self._failed)
        self._silence()
        if self._phase is Phase.GONE:
            self._finish()
        elif self._phase is not Phase.KILLING:
            # Before it runs, the script has nothing to put in order, and nothing to take the signal.
            asked = isinstance(error, DeadlineExceeded | ClientGone) and self._running.confirmed
            self._set_phase(Phase.TERMINATING if asked and self._running.exit is None else Phase.KILLING)

    def _stdout_readable(self) -> None:
        if self._bypass is not None and self._bypass.take():
            self._deadlines.moved()
            self._flow()
            return
        data = self._read(self._running.stdout)
        if len(data) == PIECE:
            self._bypass = self._bypass or Bypass(self._exchange, self._answer, self._running.stdout)
            self._bypass.had_a_piece()
        if data:
            self._deadlines.moved()
            self._feed(data)
            if self._answer.head is not None:
                self._deadlines.answered()
        self._flow()

    def _feed(self, data: bytes) -> None:
        self._exchange.stdout.feed(data)
        self._answer.feed(data)

    def _stderr_readable(self) -> None:
        if data := self._read(self._running.stderr):
            self._deadlines.moved()
            self._complain(data)

    def _complain(self, data: bytes) -> None:
        if self._stderr is None:
            most = self._settings.stderr_bytes, self._settings.stderr_lines
            self._stderr = StderrLog(self._exchange, self._exchange.entry.id, *most)
        self._stderr.feed(data)

    def _read(self, fd: int) -> bytes:
        data = self._outlets.read(fd)
        if not data and fd not in self._outlets.open:
            self._hung_up()
            if not self._outlets.open and self._phase is Phase.LINGERING:
                self._set_phase(Phase.KILLING)
        return data

    def _flow(self) -> None:
        """Send what may be sent; read on only while the web server takes it."""
        if self._error is not None or self._over.done():
            return
        if self._phase is Phase.GONE:
            self._drain()
        if self._phase is Phase.GONE and not self._outlets.open:
            if found := limit_met(self._running.exit, self._running.met, self._limits, self._exchange.entry.rule):
                self._exchange.entry.blame(found)  # what follows from it is not the cause
            self._exchange.write_last(self._answer.take())
            self._answer.finish(self._running.exit.signal if self._running.exit is not None else None)
            self._finish()
            return
        if self._answer.held_bytes and self._may_send() and (data := self._answer.take()):
            self._exchange.write(data)
        self._deadlines.waiting(self._exchange.blocked)
        self._listen()

    def _may_send(self) -> bool:
        """nginx drops the rest of an upload at the first response head: hold it until the body is here or unwanted."""
        return (self._answer.sent or self._feeder.closed or self._exchange.body.arrived) and self._running.confirmed

    def _drain(self) -> None:
        """Nothing of the request writes on: what the pipes held then is all, though others may write on to them."""
        outlets, stdout, stderr = self._outlets, self._running.stdout, self._running.stderr
        while stderr in outlets.open:
            if data := outlets.rest(stderr):
                self._complain(data)
        while stdout in outlets.open and not self._full():
            if data := outlets.rest(stdout):
                self._feed(data)

    def _full(self) -> bool:
        return self._exchange.blocked or self._answer.held_bytes >= self._settings.output_bytes

    def _listen(self) -> None:
        """To stdout, as far as the web server takes it."""
        if self._full():
            self._outlets.ignore(self._running.stdout)
        else:
            self._outlets.listen(self._running.stdout, self._stdout_readable, self._failed, self._hung_up)

    def _listen_to_stderr(self) -> None:
        self._outlets.listen(self._running.stderr, self._stderr_readable, self._failed)

    def _silence(self) -> None:
        """No more is read or written. Stdin stays open, so that a body that broke off never looks complete."""
        self._outlets.silence()
        self._deadlines.stop()
        self._late.cancel()
        self._exchange.body.discard()

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _release(self) -> None:
        self._silence()
        self._exchange.on_input = self._exchange.on_output = lambda: None
        if self._timer is not None:
            self._timer.cancel()
        self._wake.unwatch()
        self._feeder.close()
        for each in (self._stderr, self._bypass):
            if each is not None:
                each.close()
        self._outlets.close()
        self._exchange.entry.bytes_in = self._feeder.written
        if self._running.exit is not None:
            self._exchange.entry.ended(self._running.exit)


_ENTER: dict[Phase, Callable[[Relay], None]] = {
    Phase.LINGERING: Relay._linger,
    Phase.TERMINATING: Relay._terminate,
    Phase.KILLING: Relay._kill,
    Phase.GONE: Relay._gone,
}
