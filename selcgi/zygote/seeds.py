"""What a module takes from the kernel's randomness when it is loaded, and each child must take for itself.

Decides which generators of `random` are meant: those that were made without a seed while preloads and applications were
loaded. One with a seed of its own gives the same in a fresh program, and so it does here. Of other libraries
two are known: GnuTLS notices a fork by pthread_atfork(3), which birth.clone_for() does not serve, and SQLite does not
always. Must not be left on: what it puts into `random` is taken out again before the first fork. Called by
zygote/fresh.py.
"""

import ctypes
import os
import random
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

# Library, function, arguments. SQLite asks for the pid only where it opens a file.
_OTHERS: tuple[tuple[Any, ...], ...] = (
    ("libgnutls.so.30", "gnutls_rnd_refresh"),
    ("libsqlite3.so.0", "sqlite3_randomness", 0, None),
)
_SEED: Any = random.Random.seed


class Seeds:
    """Watches from its making until settle()."""

    def __init__(self) -> None:
        unseeded: weakref.WeakSet[random.Random] = weakref.WeakSet()

        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            (unseeded.add if a is None else unseeded.discard)(self)
            _SEED(self, a, version)

        random.Random.seed = seed  # type: ignore[method-assign]
        self._watched = unseeded
        self._unseeded: tuple[random.Random, ...] = ()
        self._others: list[Callable[[], object]] = []

    def settle(self) -> None:
        """In the zygote, when everything is loaded."""
        random.Random.seed = _SEED  # type: ignore[method-assign]
        self._unseeded = tuple(self._watched)
        for library, name, *arguments in _OTHERS:
            with suppress(OSError):  # nothing has loaded it
                found = ctypes.CDLL(library, os.RTLD_NOW | os.RTLD_NOLOAD)
                self._others.append(partial(found[name], *arguments))

    def renew(self) -> None:
        """In a child. The generator behind random.random() has been seeded by then: `random` has a hook for forks."""
        for one in self._unseeded:
            _SEED(one)
        for renew in self._others:
            renew()
        process: Any = sys.modules.get("multiprocessing.process")
        if process is not None:  # it proves to a manager or listener who asks
            process.current_process().authkey = os.urandom(32)
