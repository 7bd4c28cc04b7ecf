"""What the policy must allow for a fork of a warm interpreter to become a script's process: every question.

Decides which of a fresh start's questions are asked of a fork, too: nothing is executed, so all about the exec is not;
descriptors, folders, and being watched are. That the interpreter itself can start is system/preflight.py's to ask, with
its program for the script. Pure. Used by diagnose/explaining.py.
"""

from collections.abc import Iterator

from selcgi.context import Context
from selcgi.system.preflight import Attempt, Question, Step, questions

_OF_A_FORK = frozenset({Step.DESCRIPTORS, Step.PIPES, Step.WATCH, Step.SEARCH})


def move_questions(zygote: Context, script: Attempt) -> Iterator[Question]:
    """In the order of the kernel's questions: `zygote` is given the request, then moves (setcon(3): selinux_setprocattr
    in security/selinux/hooks.c), then is the script's process."""
    source, own = str(zygote), str(script.own)
    for permission in ("read", "write"):  # the socket that the request comes by
        yield Question(Step.PIPES, source, own, "unix_stream_socket", permission)
    if script.path:
        yield Question(Step.READ, source, script.label, "file", "read", script.path)
    yield Question(Step.TRANSITION, source, source, "process", "setcurrent")
    yield Question(Step.TRANSITION, source, str(script.target), "process", "dyntransition")
    yield from (each for each in questions(script) if each.step in _OF_A_FORK)
