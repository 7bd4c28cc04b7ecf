"""The three streams of a script: who holds which end.

Decides that the script's ends block and selcgi's do not, and that every end is close-on-exec. Must not start
anything. Used by launch/cold.py, warm.py and guard.py.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from selcgi.launch.steps import failed


class Streams(NamedTuple):
    """`theirs` become 0, 1 and 2 of the script; -1 is /dev/null, which it opens for itself. Of ours, stdin is -1 when
    there is no body."""

    theirs: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int

    def close_theirs(self) -> None:
        close_open(self.theirs)

    def close_ours(self) -> None:
        close_open((self.stdin, self.stdout, self.stderr))


def make_streams(empty_body: bool, opened_here: bool = False) -> Streams:
    """Pipes, or /dev/null for no body: `opened_here`, if another process is to be given it.
    LaunchFailed("make_streams"): none is open then."""
    opened: list[int] = []
    try:
        if empty_body:
            opened += os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if opened_here else -1, -1
        else:
            opened += os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
        their_stdin, stdin, stdout, their_stdout, stderr, their_stderr = opened
        for ours in (stdin, stdout, stderr):
            if ours >= 0:
                os.set_blocking(ours, False)
    except OSError as error:
        close_open(opened)
        raise failed("make_streams", error) from error
    return Streams((their_stdin, their_stdout, their_stderr), stdin, stdout, stderr)


def close_open(descriptors: Iterable[int]) -> None:
    """All but those that are -1."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
