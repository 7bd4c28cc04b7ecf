"""The modules that the administrator has every zygote import, and what they must not leave behind.

Decides what can't be shared by the forks of one process: a thread is not there in a child, an open file or connection
is not its own (it is closed there, and its number is given away again), a signal's handler or timer is not a fresh
program's, and in memory that is mapped to be shared the scripts of two users could write to one another. Must not run
anything of a request. Called by zygote/main.py.
"""

import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from selcgi.errors import LoadFailed
from selcgi.zygote import trampolines

_SIGNALS = sorted(signal.valid_signals())
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_FIX = "do it where a request is served, or leave it out of --preload and out of the module's own level"


class State(NamedTuple):
    """What must be the same after a module was loaded."""

    descriptors: frozenset[int]
    handlers: tuple[object, ...]
    shared: frozenset[str]


def state() -> State:
    handlers = tuple(signal.getsignal(signum) for signum in _SIGNALS)
    return State(frozenset(_descriptors()), handlers, frozenset(_shared_memory()))


def load(names: Sequence[str], before: State) -> None:
    """Import each of them. LoadFailed names the first that can't be, or that leaves something behind."""
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # whatever it raises: SystemExit too
            reason = f"--preload {name} can't be imported: {last_line(error)}"
            raise LoadFailed(reason, f"install it for {sys.executable}, or leave it out") from error
        check(f"--preload {name}", before)


def check(who: str, before: State) -> None:
    """LoadFailed when `who` has left something that forks can't share."""
    gc.collect()  # what nobody holds any more is not left
    for what in _left(before):
        raise LoadFailed(f"{who} has {what}", _FIX)


def last_line(error: BaseException) -> str:
    """As the end of a traceback shows it, with the place where it was raised."""
    at, place = error.__traceback__, ""
    while at is not None:
        place, at = f" at {at.tb_frame.f_code.co_filename}:{at.tb_lineno}", at.tb_next
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text + (place if not isinstance(error, SyntaxError) else "")


def _left(before: State) -> Iterator[str]:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    threads = len(os.listdir("/proc/self/task"))
    if others or threads > 1:
        yield f"started a thread ({', '.join(others) or 'of a library'}), which no fork has"
    if _has_child():
        yield "started a process that would be nobody's"
    for descriptor in sorted(_descriptors() - before.descriptors):
        yield f"left {_named(descriptor)} open, which requests can't share"
    for mapping in sorted(set(_shared_memory()) - before.shared):
        yield f"mapped memory that all requests could write to ({mapping})"
    for descriptor in sorted(before.descriptors - _descriptors()):
        yield f"closed descriptor {descriptor}, whose number a request's would get"
    for signum, handler in zip(_SIGNALS, before.handlers, strict=True):
        if signal.getsignal(signum) != handler:
            yield f"set a handler for {signal.Signals(signum).name}"
    if any(signal.getitimer(timer)[0] for timer in _TIMERS):
        yield "started a timer"


def _has_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _shared_memory() -> Iterator[str]:
    """Address and file of each mapping that a fork does not copy and that is writable, or can be made so: "sh" and "mw"
    of proc_pid_smaps(5)."""
    mapping = ""
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            first, *words = line.split(maxsplit=5)
            if not first.endswith(":"):
                mapping = f"{first} {''.join(words[4:]).strip()}".strip()
            elif first == "VmFlags:" and {"sh", "mw"} <= set(line.split()):
                yield mapping


def _named(descriptor: int) -> str:
    """`socket:[123]` says little, but that it is one."""
    target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    kind = target.partition(":")[0]
    return f"a connection or socket ({target})" if kind == "socket" else target


def _descriptors() -> set[int]:
    """Without that by which they are listed, and what each child gets anew."""
    listed = {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}  # noqa: PTH110
    return listed.difference(trampolines.find())
