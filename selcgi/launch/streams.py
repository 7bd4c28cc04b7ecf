"""The three streams of a script: who holds which end.

Decides that the script's ends block and selcgi's do not, and that every end is close-on-exec. Must not start
anything. Used by launch/cold.py.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass

from selcgi.launch.steps import step


@dataclass(frozen=True, slots=True)
class Streams:
    """`theirs` become 0, 1 and 2 of the script. Of ours, stdin is -1 when there is no body."""

    theirs: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int


def make_streams(empty_body: bool, always: ExitStack, on_failure: ExitStack) -> Streams:
    """Pipes, or /dev/null for no body. `always` closes theirs, `on_failure` ours. LaunchFailed("make_streams")."""
    with step("make_streams"):
        their_stdin, stdin = (_null(always), -1) if empty_body else _pipe(always, on_failure)
        stdout, their_stdout = _pipe(on_failure, always)
        stderr, their_stderr = _pipe(on_failure, always)
        for ours in (stdin, stdout, stderr):
            if ours >= 0:
                os.set_blocking(ours, False)
        return Streams((their_stdin, their_stdout, their_stderr), stdin, stdout, stderr)


def _null(owner: ExitStack) -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    owner.callback(os.close, descriptor)
    return descriptor


def _pipe(read_owner: ExitStack, write_owner: ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    read_owner.callback(os.close, read_end)
    write_owner.callback(os.close, write_end)
    return read_end, write_end
