"""What a child must not have of its zygote, or of its siblings: streams, and what is random but once made is kept.

Decides what is made anew. Much is done by then: Python's own hooks of a fork have seeded `random` and renewed the
locks of `logging` and `threading`; `secrets` asks the kernel, `ssl` notices that the pid is another. Must do little:
each page that it writes to is copied. Called by zygote/main.py.
"""

import gc
import io
import os
import stat
import sys
from types import ModuleType


class Streams:
    """The standard streams of the children, made in the zygote: each child is the first to use its copies.

    As this interpreter has made the zygote's (pylifecycle.c, create_stdio()). Over a pipe, since a stream finds out but
    once whether it can be sought in; `_empty` is for /dev/null in the place of a body.
    """

    def __init__(self, unbuffered: bool) -> None:
        self._unbuffered = unbuffered
        old = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        self._encodings = [(one.encoding, one.errors) if one is not None else ("utf-8", "strict") for one in old]
        null, (read_end, write_end) = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self._empty, self._body = self._open(0, "r", null), self._open(0, "r", read_end)
        self._written = [self._open(each, "w", write_end) for each in (1, 2)]
        for descriptor in (null, read_end, write_end):
            os.close(descriptor)

    def take(self) -> None:
        """In a child, whose descriptors 0 to 2 are its own by now."""
        body = self._body if stat.S_ISFIFO(os.fstat(0).st_mode) else self._empty
        sys.stdin = sys.__stdin__ = body  # type: ignore[misc]
        sys.stdout = sys.__stdout__ = self._written[0]  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._written[1]  # type: ignore[misc]

    def _open(self, descriptor: int, mode: str, like: int) -> io.TextIOWrapper:
        """For `descriptor`, where a file of the kind of `like` is meanwhile."""
        kept = os.dup(descriptor)
        try:
            os.dup2(like, descriptor)
            return self._make(descriptor, mode)
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)

    def _make(self, descriptor: int, mode: str) -> io.TextIOWrapper:
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


def settle(package: str) -> str:
    """In the zygote, once everything is loaded: the name of the last module that a child begins with.

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
    return next(reversed(sys.modules))


_hidden: list[ModuleType] = []  # still there: to take them down would cost each child
