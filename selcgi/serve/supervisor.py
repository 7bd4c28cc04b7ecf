"""The supervisor: opens what the workers share, forks them, replaces the dead, reloads, drains. Reads no request.

Decides when a worker starts and ends. Single-threaded, no event loop: signals are blocked and waited for, so a fork
happens in a known state. A reload builds a whole new Site and new workers before it drains the old ones; a mistake
changes nothing. When a worker dies, all that was its is killed before another takes its place. Called by cli/serve.py.
"""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from selcgi import VERSION
from selcgi.errors import SelcgiError, StartRefused, refused_by_kernel
from selcgi.launch.cold import WARM_FIX, open_launcher
from selcgi.serve import log
from selcgi.serve.accesslog import Entry
from selcgi.serve.admission import Admission
from selcgi.serve.beside import Beside, Shared
from selcgi.serve.board import Board
from selcgi.serve.children import Child, become
from selcgi.serve.denials import Denials
from selcgi.serve.files import fit_files
from selcgi.serve.means import Means
from selcgi.serve.preflight import Preflight
from selcgi.serve.share import Share
from selcgi.serve.site import Site, open_site
from selcgi.serve.worker import REPLACED, Listener, run_worker
from selcgi.settings import UMASK, Settings
from selcgi.system.cgroups import open_tree
from selcgi.system.leases import Leases
from selcgi.system.notify import notify
from selcgi.system.pidfile import pid_file
from selcgi.system.processes import end_children, set_child_subreaper
from selcgi.system.selinux import open_labels
from selcgi.system.sockets import close_listener, open_listener

LOG = logging.getLogger("selcgi")
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, REPLACED)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds before a worker that died is replaced
_HEALTHY_SECONDS = 60.0  # a worker that lived so long starts the pauses anew
_GENERATIONS = 16  # of workers at once: those of earlier reloads are still ending their requests


class Supervisor:
    """Owns the listeners, the cgroup tree and the workers."""

    def __init__(self, settings: Settings, held: ExitStack) -> None:
        """StartRefused or MappingError when selcgi could not keep its promise. `held` gives back what it opens."""
        self._settings = settings
        self._labels = open_labels(settings.selinux)
        log.mark(self._labels.note.removeprefix("selinux="))
        self._preflight = Preflight(self._labels, settings.preflight)
        self._site = self._open()
        self._listeners = tuple(self._listen(held))
        self._beside = Beside(settings, held)
        self._tree = open_tree(settings.cgroup)
        if self._tree is not None:
            held.callback(self._tree.remove)
        self._board = Board(_GENERATIONS * self._count)
        self._lifeline = os.pipe()
        self._shared = Shared(self._board, self._listeners, self._labels.note, self._lifeline[0])
        self._children: dict[int, Child] = {}
        self._generation = 0
        self._stopping = False
        self._pause = self._start_at = 0.0

    def run(self) -> None:
        """Until SIGTERM has drained all workers."""
        self._start_missing()
        if self._missing():
            raise StartRefused("no worker could be started", "the line before this one says what it needs")
        self._tell("READY=1")
        self._warn_of_cold()
        LOG.info("selcgi %s is ready: %s", VERSION, self._description())
        while self._children or not self._stopping:
            wait = max(0.0, self._start_at - time.monotonic()) if self._missing() or self._absent() else 3600.0
            info = signal.sigtimedwait(_SIGNALS, min(wait, self._preflight.pause))
            if info is not None:
                _HANDLERS[signal.Signals(info.si_signo)](self, info.si_pid)
            self._preflight.renewed(self._site)
            self._start_missing()

    def _listen(self, held: ExitStack) -> Iterator[Listener]:
        for one in self._settings.listeners:
            if one.peer_types and self._labels.own is None:
                raise StartRefused(f"{one.address}: without SELinux no peer has a type", "leave peer-type= out")
            for sock in open_listener(one):
                held.callback(close_listener, sock)
                yield Listener(sock, one)

    def _description(self) -> str:
        where = " ".join(one.address for one in self._settings.listeners)
        ended_by = "guard processes" if self._tree is None else f"cgroup {self._tree.path}"
        selinux = "" if self._labels.own is None else f"selinux as {self._labels.own}, "
        return f"{self._count} workers at {where}, {selinux}requests are ended by {ended_by}"

    def _warn_of_cold(self) -> None:
        warm = self._settings.warm
        if self._tree is None and (warm.scripts or any(True for _ in self._site.table.warmed())):
            instead = "a fresh program, WSGI applications 503" if warm.fallback else "503"
            LOG.warning("warm interpreters need a cgroup v2 of selcgi's own: scripts get %s; %s", instead, WARM_FIX)

    def _open(self) -> Site:
        return self._preflight.passed(open_site(self._settings, self._labels, Entry.write))

    def _missing(self) -> bool:
        workers = [child for child in self._children.values() if child.number >= 0]
        serving = sum(child.generation == self._generation and not child.retires for child in workers)
        return not self._stopping and serving < self._count and len(workers) < len(self._board.pages)

    def _absent(self) -> dict[int, Callable[[], None]]:
        """The processes beside the workers that should be there and are not, with their work."""
        wanted = self._beside.works(self._shared, self._site.table.asked.of_system)
        there = {child.number for child in self._children.values()}
        return {} if self._stopping else {number: wanted[number] for number in wanted.keys() - there}

    @property
    def _count(self) -> int:
        return self._settings.workers or len(os.sched_getaffinity(0))

    def _start_missing(self) -> None:
        """As many as there shall be, later when the kernel refuses one now; then those of earlier reloads may go."""
        try:
            while self._missing() and time.monotonic() >= self._start_at:
                self._start_worker()
            if time.monotonic() >= self._start_at:
                for number, work in self._absent().items():
                    self._fork(number, work)
        except OSError as error:
            self._pause_for(0.0)
            why = refused_by_kernel(error, "see the kernel's log")
            LOG.error("cannot start a process: %s; tried again in %g s", why, self._pause)
        if not self._missing():
            self._retire_old()

    def _retire_old(self) -> None:
        """Once each: at its very end a worker has no handler any more."""
        for child in self._children.values():
            if child.number >= 0 and child.generation < self._generation and not child.retires:
                child.retires = True
                os.kill(child.pid, REPLACED)

    def _start_worker(self) -> None:
        used = {child.number for child in self._children.values()}
        number = next(n for n in range(len(used) + 1) if n not in used)
        leases = self._site.categories.open_leases()
        try:
            self._fork(number, lambda: self._work(number, leases), leases)
        except OSError:
            if leases is not None:
                leases.free()
            raise

    def _fork(self, number: int, work: Callable[[], None], leases: Leases | None = None) -> None:
        gc.freeze()  # a worker's garbage collector must not touch, and so copy, the mapping's pages
        pid = os.fork()
        child = Child(pid, number, self._generation, time.monotonic(), leases)
        if pid == 0:
            os.close(self._lifeline[1])
            become(child.name, work)
        self._children[pid] = child

    def _work(self, number: int, leases: Leases | None) -> None:
        leaves = self._tree.leaves(number) if self._tree is not None else None
        page = self._board.pages[number]
        page.sign(self._generation)
        admission = Admission(self._board, number, self._settings)
        denials = Denials(self._settings.denials, self._labels, page.denials, number, self._count)
        launcher = open_launcher(self._settings, self._labels, leaves)
        lookups, keeper = self._beside.lookups(), self._beside.keeper()
        probe, share = self._board.probe, Share(self._board, number)
        means = Means(launcher, admission, page.tally, probe, lookups, denials, page.zygotes, share, keeper, leases)
        run_worker(self._site, self._listeners, means, self._lifeline[0])

    def on_child(self, _: int) -> None:
        """Reap. A worker that was not told to end is replaced, later and later when it keeps dying."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if child := self._children.pop(pid, None):
                self._buried(child, status)

    def _buried(self, child: Child, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        if child.number >= 0:
            self._end_orphans(child)
        if code == 0 or self._stopping:
            return
        self._pause_for(time.monotonic() - child.started)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        LOG.error("%s (pid %d) ended: %s; replaced in %g s", child.name, child.pid, how, self._pause)

    def _pause_for(self, lived: float) -> None:
        """Before the next start: longer and longer, as long as what is started does not live."""
        self._pause = _FIRST_PAUSE if lived > _HEALTHY_SECONDS or not self._pause else self._pause * 2
        self._pause = min(self._pause, _LONGEST_PAUSE)
        self._start_at = time.monotonic() + self._pause

    def _end_orphans(self, child: Child) -> None:
        """Nothing of a dead worker's requests may live on."""
        try:
            if self._tree is not None:
                ended = self._tree.kill_worker(child.number)
            else:
                ended = end_children(spare=self._children.keys())
        except OSError as error:
            LOG.error("cannot look for processes of %s (pid %d): %s", child.name, child.pid, error)
            ended = False
        self._board.pages[child.number].bury(self._board.supervisor)
        if ended and child.leases is not None:
            child.leases.free()
        elif not ended:
            LOG.error("processes of %s (pid %d) are still there after SIGKILL", child.name, child.pid)

    def on_hangup(self, _: int) -> None:
        """Reload: build, then swap; a mistake changes nothing and is loud."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            if len(self._children) > (_GENERATIONS - 1) * self._count:
                raise StartRefused("too many workers of earlier reloads still drain", "reload again later")
            fresh = self._open()
        except SelcgiError as error:
            LOG.error("reload refused, the mapping in use stays: %s", error)
            self._board.supervisor.reloaded(time.time(), False, str(error))
        else:
            old, self._site = self._site, fresh
            old.close()
            self._generation += 1
            self._start_at = 0.0
            self._start_missing()
            self._warn_of_cold()
            LOG.info("reloaded: %s", ", ".join(map(str, self._settings.maps)))
            self._board.supervisor.reloaded(time.time(), True, "")
        self._tell("READY=1")

    def on_rotated(self, _: int) -> None:
        """SIGUSR1: the log file has been moved away."""
        log.reopen()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGUSR1)

    def on_terminate(self, _: int) -> None:
        """Drain: every worker ends its requests; the last one ends the supervisor."""
        if not self._stopping:
            self._stopping = True
            self._tell("STOPPING=1")
            for listener in self._listeners:
                close_listener(listener.sock)
            self._beside.close_outlets()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGTERM)

    def on_retiring(self, pid: int) -> None:
        """A worker has served --max-requests: another starts while it ends what it has."""
        if child := self._children.get(pid):
            child.retires = True

    def _tell(self, state: str) -> None:
        if problem := notify(state):
            LOG.warning("cannot notify systemd, continuing: %s", problem)


def supervise(settings: Settings) -> None:
    """Serve until SIGTERM. StartRefused or MappingError, before anything runs, when that can't be done safely."""
    os.umask(UMASK)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    settings = fit_files(settings)
    set_child_subreaper()
    with ExitStack() as held:
        supervisor = Supervisor(settings, held)
        if settings.pid_file is not None:
            held.enter_context(pid_file(settings.pid_file))
        supervisor.run()


_HANDLERS: dict[signal.Signals, Callable[[Supervisor, int], None]] = {
    signal.SIGCHLD: Supervisor.on_child,
    signal.SIGTERM: Supervisor.on_terminate,
    signal.SIGINT: Supervisor.on_terminate,
    signal.SIGHUP: Supervisor.on_hangup,
    signal.SIGUSR1: Supervisor.on_rotated,
    REPLACED: Supervisor.on_retiring,
}
assert set(_HANDLERS) == set(_SIGNALS)
