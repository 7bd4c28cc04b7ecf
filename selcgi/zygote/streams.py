"""sys.stdin, sys.stdout and sys.stderr of the children, made in the zygote: each child is the first to use its copies.

Decides encoding and buffering. They are there before a preload is, so what keeps one of them at its import, as a
handler of logging or a default argument does, writes where print() does. Must not read from them, nor leave in a
buffer what each child would write out again. Called by zygote/fresh.py.
"""

import codecs
import io
import os
import stat
import sys
from contextlib import suppress
from typing import Any

_NAMES = ("stdin", "stdout", "stderr")


class Streams:
    """As the interpreter makes them at its start: pylifecycle.c, create_stdio().

    A stream finds out but once whether it can be sought in. 1 and 2 are pipes here and in a child. 0 is /dev/null now,
    and was a socket when sys.stdin was made, which is like a pipe; in a child it is one of these.
    """

    def __init__(self, unbuffered: bool, encoding: str) -> None:
        """`encoding` is PYTHONIOENCODING, or empty: then as this process began, since that hangs on the locale."""
        named, _, handler = encoding.partition(":")
        self._encoding = codecs.lookup(named).name if named else sys.stdout.encoding
        self._errors = handler or ("strict" if named else str(sys.stdout.errors))
        self._empty = self._make(0, unbuffered)
        if unbuffered or encoding:
            stdin: Any = sys.stdin
            stdin.reconfigure(encoding=self._encoding, errors=self._errors, write_through=unbuffered)
            sys.stdout = sys.__stdout__ = self._make(1, unbuffered)  # type: ignore[misc]
            sys.stderr = sys.__stderr__ = self._make(2, unbuffered)  # type: ignore[misc]

    def _make(self, descriptor: int, unbuffered: bool) -> io.TextIOWrapper:
        raw = io.FileIO(descriptor, "wb" if descriptor else "rb", closefd=False)
        binary: Any = raw
        if not descriptor or not unbuffered:
            binary = io.BufferedWriter(raw) if descriptor else io.BufferedReader(raw)
        text = io.TextIOWrapper(
            binary,
            self._encoding,
            "backslashreplace" if descriptor == 2 else self._errors,
            newline="\n",
            line_buffering=descriptor == 2 and not unbuffered,
            write_through=unbuffered,
        )
        raw.name = f"<{_NAMES[descriptor]}>"
        text.mode = "w" if descriptor else "r"  # type: ignore[misc]
        return text

    def settle(self) -> None:
        """In the zygote: what was printed meanwhile goes out now, and not once with each child."""
        streams: tuple[Any, ...] = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        for stream in streams:
            with suppress(AttributeError, OSError, ValueError):  # as a preload has left it
                stream.flush()

    def take(self) -> None:
        """In a child, whose descriptors 0 to 2 are its own by now."""
        if not stat.S_ISFIFO(os.fstat(0).st_mode) and sys.stdin is sys.__stdin__:
            sys.stdin = sys.__stdin__ = self._empty  # type: ignore[misc]
