"""The processes beside the workers: control, recorder, resolver.

Decides which there should be, and that each closes what is another's: the recorder and the resolver end when nobody is
left that could ask them. Owned by serve/supervisor.py, which forks them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from selcgi.serve.board import Board
from selcgi.serve.children import CONTROL, RECORDER, RESOLVER
from selcgi.serve.control import open_control, run_control
from selcgi.serve.failures import Keeper
from selcgi.serve.lookups import Lookups, from_resolver
from selcgi.serve.recorder import Recorder
from selcgi.serve.resolver import Resolver
from selcgi.serve.worker import Listener
from selcgi.settings import Settings
from selcgi.system.sockets import close_listener


@dataclass(frozen=True, slots=True)
class Shared:
    """What a forked process has of its supervisor."""

    board: Board
    listeners: tuple[Listener, ...]
    note: str  # of Labels
    lifeline: int


class Beside:
    """Their sockets, opened before anything is forked."""

    def __init__(self, settings: Settings, held: ExitStack) -> None:
        """StartRefused when one can't be had. `held` gives them back."""
        self._control = open_control(settings)
        for sock in (*self._control.full, *self._control.numbers):
            held.callback(close_listener, sock)
        self._recorder = Recorder(settings.failures) if settings.failures is not None else None
        if self._recorder is not None:
            held.callback(self._recorder.close)
        self._resolver = Resolver()
        held.callback(self._resolver.close)

    def works(self, shared: Shared, resolving: bool) -> dict[int, Callable[[], None]]:
        """The whole life of each process that should be there, by its number."""
        wanted: dict[int, Callable[[], None]] = {}
        if any(self._control):
            wanted[CONTROL] = lambda: self._answer(shared)
        if self._recorder is not None:
            wanted[RECORDER] = lambda: self._record(shared)
        if resolving:
            wanted[RESOLVER] = lambda: self._resolve(shared)
        return wanted

    def keeper(self) -> Keeper | None:
        """For a worker."""
        return Keeper(self._recorder.outlet) if self._recorder is not None else None

    def lookups(self) -> Lookups:
        """For a worker."""
        return Lookups(from_resolver(self._resolver.outlet))

    def close_outlets(self) -> None:
        """They end when the last worker has."""
        self._resolver.outlet.close()
        if self._recorder is not None:
            self._recorder.outlet.close()

    def _answer(self, shared: Shared) -> None:
        _close(shared)
        self.close_outlets()
        run_control(shared.board, shared.note, self._control, shared.lifeline)

    def _record(self, shared: Shared) -> None:
        assert self._recorder is not None
        _close(shared)
        self._resolver.close()
        self._recorder.run()

    def _resolve(self, shared: Shared) -> None:
        _close(shared)
        if self._recorder is not None:
            self._recorder.close()
        self._resolver.run()


def _close(shared: Shared) -> None:
    for listener in shared.listeners:
        listener.sock.close()
