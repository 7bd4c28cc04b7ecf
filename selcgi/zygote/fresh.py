"""What a child must not have of its zygote, or of its siblings: streams, and what is random but once made is kept.

Decides what is made anew. Much is done by then: Python's own hooks of a fork have seeded `random` and renewed the
locks of `logging` and `threading`; `secrets` asks the kernel, `ssl` notices that the pid is another. Must do little:
each page that it writes to is copied. Called by zygote/main.py.
"""

import gc
import io
import sys
from types import ModuleType


class Streams:
    """How this interpreter makes its standard streams, as it has made the zygote's: pylifecycle.c, create_stdio()."""

    def __init__(self, unbuffered: bool) -> None:
        self._unbuffered = unbuffered
        old = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        self._encodings = [(one.encoding, one.errors) if one is not None else ("utf-8", "strict") for one in old]

    def renew(self) -> None:
        sys.stdin = sys.__stdin__ = self._open(0, "r")  # type: ignore[misc]
        sys.stdout = sys.__stdout__ = self._open(1, "w")  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._open(2, "w")  # type: ignore[misc]

    def _open(self, descriptor: int, mode: str) -> io.TextIOWrapper:
        encoding, errors = self._encodings[descriptor]
        through = self._unbuffered and descriptor > 0
        raw = io.FileIO(descriptor, mode, closefd=False)
        raw.name = ("<stdin>", "<stdout>", "<stderr>")[descriptor]
        binary = raw if through else io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        text = io.TextIOWrapper(
            binary,
            encoding,
            errors,
            newline="\n",
            line_buffering=descriptor == 2,
            write_through=through,
        )
        text.mode = mode  # type: ignore[misc]
        return text


def forget() -> None:
    """What modules that a preload has imported remember of this process."""
    modules = sys.modules
    if uuid := modules.get("uuid"):
        uuid._node = uuid._last_timestamp = None  # type: ignore[attr-defined]
    if tempfile := modules.get("tempfile"):
        tempfile.tempdir = None  # type: ignore[attr-defined]


def settle(package: str) -> frozenset[str]:
    """In the zygote, once everything is loaded: the names of all modules that a child begins with.

    selcgi itself, found in `package`, is none of them: a fresh program could not import it either. What was printed
    meanwhile goes out now, and not once with each child.
    """
    sys.path[:] = [folder for folder in sys.path if folder != package]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("selcgi", "selinux", "_selinux")]:
        _hidden.append(sys.modules.pop(name))
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # the collector of a child must not touch, and so copy, what it shares
    return frozenset(sys.modules)


_hidden: list[ModuleType] = []  # still there: to take them down would cost each child
