"""The resolver: asks the system about users, so that no worker waits for a directory that does not answer.

Decides how many questions are asked at once, and how long one may take. Each is asked by a process of its own, which
the kernel's alarm clock ends: what a module of nsswitch.conf does, loads or keeps is gone with it. Knows no answer and
keeps none. Forked by serve/supervisor.py; asked by serve/lookups.py over one socket pair that all workers share, each
question with a descriptor for its answer.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from selcgi.mapping.known import Known
from selcgi.serve import log
from selcgi.system.lookup import Question, encode, look_up

QUESTION_BYTES = 1 << 17
_AT_ONCE = 16  # questions; more wait
_SECONDS = 10  # for one; whoever asked has given up before
_QUIET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Resolver:
    """The socket pair, and what answers at its other end."""

    def __init__(self, answer: Callable[[Question], Known] = look_up, seconds: int = _SECONDS) -> None:
        self._inlet, self.outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answer = answer
        self._seconds = seconds
        self._asking = 0  # processes

    def run(self) -> None:
        """Until no worker, nor the supervisor, is left that could ask: signals to end are theirs."""
        for signum in _QUIET:
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
        signal.signal(signal.SIGCHLD, self._reap)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.outlet.close()
        while True:
            raw, descriptors, _, _ = socket.recv_fds(self._inlet, QUESTION_BYTES, 1)
            if not raw:
                return
            for descriptor in descriptors:
                self._ask(raw, descriptor)
                os.close(descriptor)

    def close(self) -> None:
        self._inlet.close()
        self.outlet.close()

    def _ask(self, raw: bytes, descriptor: int) -> None:
        self._wait_for_a_place()
        if _is_gone(descriptor):
            return
        with suppress(OSError):  # without an answer the asker sees the end of its connection
            if os.fork() == 0:
                self._become_asker(raw, descriptor)
            self._asking += 1

    def _become_asker(self, raw: bytes, descriptor: int) -> NoReturn:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.alarm(self._seconds)
            self._inlet.close()
            answer = encode(self._answer(Question.decode(raw)))
            with socket.socket(fileno=descriptor) as sock:
                sock.sendall(answer)
        finally:
            os._exit(0)

    def _wait_for_a_place(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        while self._asking >= _AT_ONCE:
            os.waitpid(-1, 0)
            self._asking -= 1
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))

    def _reap(self, *_: object) -> None:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                self._asking -= 1


def _is_gone(descriptor: int) -> bool:
    """Whether the asker has given up: while a directory hangs, questions pile up that nobody waits for any more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    return bool(poll.poll(0))
