"""One worker: accepts connections, serves their requests, drains when told, and dies with its supervisor.

Decides what is admitted: bounded requests and connections; one connection is accepted a turn, so that the workers
share the load. Single-threaded, since the exec context belongs to the thread that spawns (setexeccon(3)).
Must not read the mapping file or its own command line: the Site came with the fork. Called by serve/supervisor.py.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from selcgi.errors import Overloaded, SelcgiError, refused_by_kernel, unexpected
from selcgi.serve import log
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange
from selcgi.serve.means import Means
from selcgi.serve.poller import Poller
from selcgi.serve.request import serve_request
from selcgi.serve.rounds import Rounds
from selcgi.serve.session import Session
from selcgi.serve.site import Site
from selcgi.serve.splicing import Conduit
from selcgi.serve.zygotelog import ZygoteLog
from selcgi.settings import ListenerSettings, Settings
from selcgi.system.identity import check_peer

LOG = logging.getLogger("selcgi")
REPLACED = signal.SIGUSR2  # to a worker: another takes its place; from one: it needs a successor
Result = TypeVar("Result")
_SWEEP_SECONDS = 2.0
_LEAVE_SECONDS = 0.003  # for another worker to accept a connection
_GARBAGE = 20_000  # objects made and not freed by then, until cycles among them are looked for


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, non-blocking, with the settings it was opened by."""

    sock: socket.socket
    settings: ListenerSettings


class Worker:
    """Owns all sessions of one process. `lifeline` is readable when the supervisor is gone; -1: there is none."""

    def __init__(self, site: Site, listeners: tuple[Listener, ...], means: Means, lifeline: int = -1) -> None:
        self.settings: Settings = site.settings
        self.loop = asyncio.get_running_loop()
        self._site = site
        self._means = means
        self.poller, self.conduit, self.rounds = Poller(), Conduit(), Rounds()
        self.loop.add_reader(self.poller.fileno(), self.poller.dispatch)
        means.denials.begin(self.loop, self.poller)
        if means.launcher.zygotes is not None:
            means.launcher.zygotes.begin(self.poller, ZygoteLog(means.zygotes))
        self._listeners = listeners
        self._lifeline = lifeline
        # A web server's idle kept connections must not use up what its busy ones need.
        busy = self.settings.worker_requests or self.settings.concurrent_requests
        self._most_sessions = 2 * busy + self.settings.queue_length
        self._space = SpoolSpace(site.settings.spool_bytes)
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._served = 0
        self._accepting = self._leaving = self._draining = self._cutting_off = False
        self._leaves_from = 0.0  # by the loop's clock
        self._idle = asyncio.Event()

    async def serve(self) -> None:
        """Until drained: by SIGTERM, a lost supervisor, or when it is to be replaced."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(signum, self.drain)
        self.loop.add_signal_handler(REPLACED, self.retire)
        self.loop.add_signal_handler(signal.SIGUSR1, log.reopen)
        # The supervisor forks with its signals blocked, so that none is lost before this line.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if self._lifeline >= 0:
            self.loop.add_reader(self._lifeline, self.drain)
        self._accept_on(True)
        sweeper = self.loop.create_task(self._sweep())
        await self._idle.wait()
        sweeper.cancel()
        self.close()

    def close(self) -> None:
        """Once no request is left."""
        self._site.scripts.close()
        self._means.denials.close()
        if self._means.launcher.zygotes is not None:
            self._means.launcher.zygotes.close()

    def drain(self) -> None:
        """Retire, and be done within drain_seconds: what has not ended by then is cut off."""
        if self._lifeline >= 0:
            self.loop.remove_reader(self._lifeline)
        if not self._cutting_off:
            self._cutting_off = True
            self.loop.call_later(self.settings.drain_seconds, self._cut_off)
        if not self._draining:
            for listener in self._listeners:
                self._accept_rest(listener)
        self.retire()

    def retire(self) -> None:
        """Accept no more; done when the last request is, however long its own deadlines let it run."""
        if self._draining:
            return
        self._draining = True
        self._accept_on(False)
        self._tell_share()
        for listener in self._listeners:
            listener.sock.close()  # this copy: where nobody listens any more, a client is refused at once
        for session in list(self._sessions):
            session.drain()
        self._check_idle()

    def _accept_rest(self, listener: Listener) -> None:
        """What has connected so far is still served."""
        for _ in range(self._most_sessions - len(self._sessions)):
            if not self._take(listener):
                break

    async def stop(self) -> None:
        """End everything at once, and wait until no script is left."""
        self._draining = True
        self._close_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def adopt(self, sock: socket.socket, listener: ListenerSettings) -> None:
        """A connected socket becomes a session, if its peer may connect at all."""
        sock.setblocking(False)
        reason = check_peer(sock, listener, self._site.labels)
        if reason:
            LOG.warning("connection refused listener=%s: %s", listener.address, reason)
            sock.close()
            return
        try:
            session = Session(self, sock, listener)
        except OSError as error:  # the kernel watches no more descriptors for this user
            LOG.error("connection closed listener=%s: %s", listener.address, refused_by_kernel(error, "see the socket"))
            sock.close()
            return
        if sock.fileno() >= 0:
            self._sessions.add(session)
            self._tell_share()
            self._accept_on(len(self._sessions) < self._most_sessions and not self._draining)

    def body(self) -> Body:
        # max-body= of its rule may be more than --max-body: until that is found, all may come that can be kept.
        return Body(self.settings, self._space, self.settings.body_memory_bytes + self.settings.spool_bytes)

    def began(self, exchange: Exchange) -> None:
        """A request is complete up to its body."""
        if len(self._tasks) >= self._most_sessions:
            reason = f"{len(self._tasks)} requests are in this worker, refused ones included"
            exchange.refused = Overloaded(reason, "see what they wait for, or add --workers", limit="worker")
        self._served += 1
        task = self.loop.create_task(serve_request(self._site, self._means, exchange), name="request")
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, exchange))

    def closed(self, session: Session) -> None:
        self._sessions.discard(session)
        self._tell_share()
        self._accept_on(not self._draining)
        self._check_idle()

    def failed(self, listener: ListenerSettings, error: SelcgiError) -> None:
        LOG.warning("connection closed listener=%s step=%s: %s", listener.address, error.step, error)

    def _done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        try:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):  # there was no memory even to refuse it
                self.failed(exchange.listener, unexpected(error, "a request"))
        finally:
            self._over(exchange)

    def _over(self, exchange: Exchange) -> None:
        try:
            exchange.body.close()
        finally:
            exchange.break_off()  # unless it has ended
        if 0 < self.settings.requests_per_worker <= self._served and not self._draining:
            os.kill(os.getppid(), REPLACED)
            self.retire()
        self._check_idle()

    def _check_idle(self) -> None:
        if self._draining and not self._tasks and not self._sessions:
            self._idle.set()

    def _cut_off(self) -> None:
        """What has not ended by now is ended: its client sees a broken answer, its script is killed."""
        if self._tasks:
            LOG.warning(
                "selcgi stops: %d requests did not end within %g s and are cut off",
                len(self._tasks),
                self.settings.drain_seconds,
            )
        self._close_all()

    def _close_all(self) -> None:
        for session in list(self._sessions):
            session.close("selcgi was stopped")

    def _accept_on(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        self._accepting = wanted
        self._tell_share()
        try:
            for listener in self._listeners:
                if wanted:
                    self.poller.add_reader(listener.sock.fileno(), partial(self._accept, listener))
                else:
                    self.poller.remove_reader(listener.sock.fileno())
        except OSError as error:
            LOG.error("cannot listen: %s, trying again", refused_by_kernel(error, "see the socket"))
            self._accept_later()

    def _tell_share(self) -> None:
        accepts = (self._accepting or self._leaving) and not self._draining
        self._means.share.has(len(self._sessions) if accepts else None)

    def _accept(self, listener: Listener) -> None:
        """Or leave it to a worker that has fewer, for a moment."""
        if self._means.share.is_full and self.loop.time() >= self._leaves_from:
            self._leaving = True
            self._accept_on(False)
            self.loop.call_later(_LEAVE_SECONDS, self._come_back)
        else:
            self._take(listener)

    def _come_back(self) -> None:
        """Who has not come for it by now is stuck, and is left nothing for a second."""
        if self._means.share.is_full:
            self._leaves_from = self.loop.time() + 1.0
        self._leaving = False
        self._accept_on(not self._draining)

    def _take(self, listener: Listener) -> bool:
        """False when nobody waits to be accepted."""
        try:
            sock, _ = listener.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except (OSError, MemoryError) as error:
            why = refused_by_kernel(error, "see the socket")
            LOG.error("cannot accept listener=%s: %s, trying again", listener.settings.address, why)
            self._accept_later()
            return False
        self.adopt(sock, listener.settings)
        return True

    def _accept_later(self) -> None:
        self._accept_on(False)
        self.loop.call_later(0.5, lambda: self._accept_on(not self._draining))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.loop.time()
            self._site.scripts.age()
            for session in list(self._sessions):
                session.sweep(now)
            self._means.launcher.sweep()


def run_loop(make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run one coroutine on uvloop where it is installed, on asyncio otherwise."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(make())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(make())


def run_worker(site: Site, listeners: tuple[Listener, ...], means: Means, lifeline: int) -> None:
    """Serve in this process until drained."""

    # What the fork brought stays; requests leave few cycles, so looking for them seldom saves a tenth of their cost.
    gc.freeze()
    gc.set_threshold(_GARBAGE, 20, 20)

    async def serve() -> None:
        await Worker(site, listeners, means, lifeline).serve()

    run_loop(serve)
