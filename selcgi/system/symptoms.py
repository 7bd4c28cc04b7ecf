"""How a script ends that the policy did not let start in full: what that looks like, and which questions tell.

Decides which steps of a launch could be the cause of such an end, and what else it may be. Behind the point of no
return of an exec the kernel can only kill (load_elf_binary, fs/binfmt_elf.c); a pipe that the new domain may not use is
replaced by a file that swallows everything (flush_unauthorized_files, security/selinux/hooks.c). Pure. Called by
serve/aftermath.py.
"""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from selcgi.plan import Exit
from selcgi.system.preflight import Step

_DENIED = re.compile(rb"Permission denied|EACCES|Errno 13\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class End:
    """What is known of a script that has ended; `stdout` and `stderr` are the beginnings of what it wrote."""

    exit: Exit
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Symptom:
    """`steps` are those whose questions tell; `else_it` is what it may be when they are all answered with yes."""

    name: str
    steps: frozenset[Step]
    else_it: str
    shows: Callable[[End], bool]


def _crashed(end: End) -> bool:
    return end.exit.signal == signal.SIGSEGV and not end.stdout and not end.stderr


def _silent(end: End) -> bool:
    return end.exit.code == 0 and not end.stdout


def _refused_to_read(end: End) -> bool:
    """sh and perl exit with 2, python with 2 as well, env(1) with 126 or 127."""
    return end.exit.code in (1, 2, 126, 127) and not end.stdout and _DENIED.search(end.stderr) is not None


SYMPTOMS = (
    Symptom(
        "SIGSEGV without any output",
        frozenset({Step.LOAD, Step.DESCRIPTORS}),
        "the program itself crashed, or memory= of its rule is too little for its libraries",
        _crashed,
    ),
    Symptom(
        "exit 0 and no output",
        frozenset({Step.DESCRIPTORS, Step.PIPES}),
        "the script itself wrote nothing",
        _silent,
    ),
    Symptom(
        "an interpreter that may not open something",
        frozenset({Step.SEARCH, Step.READ, Step.PROGRAM}),
        "what it may not open is named in its stderr",
        _refused_to_read,
    ),
)


def symptom_of(end: End) -> Symptom | None:
    return next((one for one in SYMPTOMS if one.shows(end)), None)
