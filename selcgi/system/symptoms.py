"""How a script ends that the policy did not let start in full: what that looks like, and which questions tell.

Decides which steps of a launch could be the cause of such an end, and what else it may be. Behind the point of no
return of an exec the kernel can only kill (load_elf_binary, fs/binfmt_elf.c); a pipe that the new domain may not use is
replaced by a file that swallows everything (flush_unauthorized_files, security/selinux/hooks.c); a signal that selcgi
may not send is not sent. Pure. Called by serve/aftermath.py and serve/stderr.py.
"""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from selcgi.errors import BadResponse, DeadlineExceeded, SelcgiError
from selcgi.plan import Exit
from selcgi.system.preflight import Step

_DENIED = re.compile(rb"Permission denied|EACCES|Errno 13\b", re.IGNORECASE)
_FORBIDDEN = re.compile(rb"Operation not permitted|EPERM\b|Errno 1\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class End:
    """What is known of a request that failed; `stdout` and `stderr` are the beginnings of what its script wrote."""

    error: SelcgiError
    exit: Exit | None
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Symptom:
    """`steps` are those whose questions tell; `otherwise` is what it may be when they are all answered with yes."""

    steps: frozenset[Step]
    otherwise: str
    shows: Callable[[End], bool]


def _crashed(end: End) -> bool:
    return _wrote_nothing(end) and end.exit is not None and end.exit.signal == signal.SIGSEGV and not end.stderr


def _silent(end: End) -> bool:
    return _wrote_nothing(end) and end.exit is not None and end.exit.code == 0


def _may_not_open(end: End) -> bool:
    """The message is the interpreter's own, as is the exit code: 2 of sh and python, 13 or 2 of perl."""
    failed = end.exit is not None and bool(end.exit.code)
    return _wrote_nothing(end) and failed and _DENIED.search(end.stderr) is not None


def _wrote_nothing(end: End) -> bool:
    return isinstance(end.error, BadResponse) and not end.stdout


def _goes_on(end: End) -> bool:
    return isinstance(end.error, DeadlineExceeded) or end.error.step == "kill"


def speaks_of_refusal(line: bytes) -> bool:
    """Whether a program says there that the kernel has refused it something: EACCES or EPERM."""
    return _DENIED.search(line) is not None or _FORBIDDEN.search(line) is not None


SYMPTOMS = (
    Symptom(
        frozenset({Step.LOAD, Step.DESCRIPTORS}),
        "the policy lets it start, so it crashed by itself, or memory= of its rule is too little for its libraries",
        _crashed,
    ),
    Symptom(
        frozenset({Step.DESCRIPTORS, Step.PIPES}),
        "the policy lets it write its answer, so it wrote none",
        _silent,
    ),
    Symptom(
        frozenset({Step.SEARCH, Step.READ}),
        "the policy lets it read the script; its stderr says what else",
        _may_not_open,
    ),
    Symptom(frozenset({Step.WATCH}), "", _goes_on),
)


def symptom_of(end: End) -> Symptom | None:
    return next((one for one in SYMPTOMS if one.shows(end)), None)
