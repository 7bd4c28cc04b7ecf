"""The guard: a fork of the worker that starts one script and ends all that descends from it.

Decides when nothing of the request is left: when the kernel says that it, a subreaper, has no child. Used where no
cgroup is delegated. It takes orders from its worker and reports to it over one socket; when the worker is gone it
kills. Must not touch anything else of the worker's: it closes all other descriptors first, and never returns.
A guard that is killed leaves its processes to the worker. Started by launch/guarded.py, the other end of the socket.
"""

import errno
import gc
import json
import os
import select
import signal
import socket
import stat
from typing import NoReturn

from selcgi.errors import LaunchFailed
from selcgi.launch.spawn import spawn
from selcgi.launch.streams import close_open
from selcgi.plan import Plan
from selcgi.system.processes import (
    LOOK_AGAIN_MS,
    close_all_but,
    end_children,
    kill_children,
    set_child_subreaper,
    signal_group,
    to_exit,
)
from selcgi.system.selinux import Labels

# Orders, worker to guard; the end of the file is the order to kill.
TERMINATE = b"terminate"
KILL = b"kill"
# Reports, guard to worker, one JSON list each, the name first; the end of the file means: nothing is left.
STARTED = "started"  # pid
FAILED = "failed"  # class of the error, step, reason, fix
EXITED = "exited"  # code or null, signal or null, CPU seconds, bytes
MESSAGE_BYTES = 65536
_LOOP_DESCRIPTORS = 64  # below it are those of the event loop
_LONGEST_TEXT = 4000  # characters, so that a message holds two, escaped

# It ends when its children have, not when a terminal or systemd signals the worker's group.
_DEAF = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def run_guard(plan: Plan, theirs: tuple[int, int, int], labels: Labels, worker: socket.socket) -> NoReturn:
    """Runs in the child of quiet_fork(). Exits with 0 when nothing of the request is left, as far as it can know."""
    code = 1
    try:
        gc.disable()  # the worker's objects must not close descriptors that now are the guard's
        _detach(plan, theirs, worker)
        Guard(plan, theirs, labels, worker).run()
        code = 0
    except BaseException as error:  # whatever it is, no frame of the worker may go on in this process
        _report(worker, FAILED, LaunchFailed.__name__, "guard", f"the guard failed: {error!r}"[:_LONGEST_TEXT], "")
        code = int(not end_children())
    finally:
        os._exit(code)


def _detach(plan: Plan, theirs: tuple[int, int, int], worker: socket.socket) -> None:
    """Of what the worker has open, keep only what this request needs; then what was 0, 1 and 2 is not needed either."""
    keep = (*theirs, plan.script.descriptor, plan.script.directory, worker.fileno())
    pipes = set(filter(_is_pipe, range(3, _LOOP_DESCRIPTORS)))
    close_all_but(keep)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for standard in range(3):
        os.dup2(null, standard)
    # libuv closes a pipe of its own, by its numbers, in whatever is forked (pthread_atfork(3)): what is opened here
    # must not get those. They are low, since it has opened it with the event loop.
    for number in pipes.difference(keep, (null,)):
        os.dup2(null, number, inheritable=False)
    for signum in _DEAF:
        signal.signal(signum, signal.SIG_IGN)
    set_child_subreaper()


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


class Guard:
    """One request's processes, from the first to the last."""

    def __init__(self, plan: Plan, theirs: tuple[int, int, int], labels: Labels, worker: socket.socket) -> None:
        self._plan = plan
        self._theirs = theirs
        self._labels = labels
        self._worker = worker
        self._pid = 0  # of the script, until it is reaped
        self._killing = False
        self._child_ended, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only so that the wakeup descriptor is written
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def run(self) -> None:
        """Until no descendant is left. LaunchFailed is reported, not raised."""
        try:
            self._start()
        except LaunchFailed as error:
            texts = (error.step, error.reason[:_LONGEST_TEXT], error.fix[:_LONGEST_TEXT])
            _report(self._worker, FAILED, type(error).__name__, *texts)
            self._killing = True
        news = select.poll()
        news.register(self._worker, select.POLLIN)
        news.register(self._child_ended, select.POLLIN)
        while self._reap():
            if self._killing:
                kill_children()
            ready = {descriptor for descriptor, _ in news.poll(LOOK_AGAIN_MS if self._killing else None)}
            if self._child_ended in ready:
                os.read(self._child_ended, 4096)
            if self._worker.fileno() in ready and not self._obey():
                news.unregister(self._worker)

    def _start(self) -> None:
        pid = spawn(self._plan, self._theirs, self._labels, None, lambda _: None)
        self._pid = pid
        # The end of the script's output must be seen.
        close_open((*self._theirs, self._plan.script.descriptor, self._plan.script.directory))
        _report(self._worker, STARTED, pid)

    def _reap(self) -> bool:
        """Take in all that has ended; False when no child is left. Every child is this request's, so any is taken."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._pid = 0
                ended = to_exit(status, usage)
                _report(self._worker, EXITED, ended.code, ended.signal, ended.cpu_seconds, ended.maxrss_bytes)

    def _obey(self) -> bool:
        """False when there will be no more orders."""
        try:
            order = self._worker.recv(MESSAGE_BYTES)
        except ConnectionResetError:  # it left without reading all reports
            order = b""
        if order == TERMINATE:
            if self._pid:
                signal_group(self._pid, signal.SIGTERM)
            return True
        self._killing = True
        return order == KILL


def _report(worker: socket.socket, *message: object) -> None:
    """A worker that is gone, or does not read, needs no report."""
    try:
        worker.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EAGAIN, errno.ECONNRESET):
            raise
