"""The three streams of a script: who holds which end.

Decides that the script's ends block and selcgi's do not, and that every end is close-on-exec. Must not start
anything. Used by launch/cold.py.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from selcgi.launch.steps import failed


class Streams(NamedTuple):
    """`theirs` become 0, 1 and 2 of the script. Of ours, stdin is -1 when there is no body."""

    theirs: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int

    def close_theirs(self) -> None:
        _close(self.theirs)

    def close_ours(self) -> None:
        _close((self.stdin, self.stdout, self.stderr))


def make_streams(empty_body: bool) -> Streams:
    """Pipes, or /dev/null for no body. LaunchFailed("make_streams"): none is open then."""
    opened: list[int] = []
    try:
        opened += (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1) if empty_body else os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
        their_stdin, stdin, stdout, their_stdout, stderr, their_stderr = opened
        for ours in (stdin, stdout, stderr):
            if ours >= 0:
                os.set_blocking(ours, False)
    except OSError as error:
        _close(opened)
        raise failed("make_streams", error) from error
    return Streams((their_stdin, their_stdout, their_stderr), stdin, stdout, stderr)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
