"""The end of a zygote's child, as the interpreter's own: threads, atexit, streams, then the script's objects.

Decides that what the script has made is taken down, so that a file that it did not close has all that was written to
it, and that what came from the zygote is left alone: to take that down would copy all of it, and change nothing. The
order is that of pylifecycle.c, Py_FinalizeEx(). Must not return, whatever the script's own code raises there.
Called by zygote/main.py, last.
"""

import atexit
import gc
import itertools
import os
import signal
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

# What finalize_modules_delete_special() takes away first.
_SPECIAL = ("argv", "ps1", "ps2", "last_type", "last_value", "last_traceback", "last_exc", "__interactivehook__")
_OF_IMPORT = ("path", "path_hooks", "path_importer_cache", "meta_path")
_KEPT: list[object] = []  # to free what lies on the zygote's pages would copy them
_WHEN = "on" if sys.version_info < (3, 14) else "while"
_FLUSH_FAILED = 120  # Py_RunMain(), when Py_FinalizeEx() fails


def end(status: int, last: str) -> NoReturn:
    """End this process with `status`; a negative one is a signal. `last`: the last of the zygote's own modules."""
    try:
        threading: Any = sys.modules.get("threading")
        if threading is not None:
            _call(threading._shutdown, threading)
        atexit._run_exitfuncs()
        if not _flush():
            status = _FLUSH_FAILED
        _take_down(last)
        if status < 0:
            signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
    finally:
        os._exit(status)


def _flush() -> bool:
    """False when what was printed is lost: the worker has closed its end."""
    message = None if sys.version_info < (3, 13) else f"Exception ignored {_WHEN} flushing sys.stdout"
    stream: Any = sys.stdout
    whole = stream is None or _is_closed(stream) or _call(stream.flush, stream, message)
    stream = sys.stderr
    if stream is not None and not _is_closed(stream):
        try:
            stream.flush()
        except Exception:
            return False
    return whole


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except Exception:
        return False


def _take_down(last: str) -> None:
    """`__main__` and the modules that the script has loaded: most go with their last reference, the rest is cleared."""
    if gc.isenabled():
        gc.collect()
    _KEPT.extend([vars(sys).get(name) for name in _OF_IMPORT])
    for name in (*_SPECIAL, *_OF_IMPORT):
        if name in sys.__dict__:
            setattr(sys, name, None)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    left = _forget_modules(last)
    gc.collect()
    for reference in reversed(left):
        _clear(vars(module) if (module := reference()) is not None else {})
    gc.collect()
    _say_goodbye()
    streams: tuple[Any, ...] = sys.stdout, sys.stderr
    for stream in streams:  # in case more was printed
        try:
            stream.flush()
        except Exception:  # noqa: S112 - as the interpreter does it
            continue


def _forget_modules(last: str) -> list[weakref.ref[ModuleType]]:
    """Those that came after `last`: to look at every name in sys.modules would copy the pages that they lie on."""
    added = list(itertools.takewhile(lambda name: name != last, reversed(sys.modules)))[::-1]
    found = (sys.modules.pop(name, None) for name in ("__main__", "__mp_main__", *added))
    return [weakref.ref(module) for module in found if isinstance(module, ModuleType)]


def _clear(values: dict[str, Any]) -> None:
    """As _PyModule_Clear() of moduleobject.c does it: private names first."""
    for private in (True, False):
        for name in list(values):
            if (name[:1] == "_" and name[1:2] != "_") is private and name != "__builtins__":
                values[name] = None


def _say_goodbye() -> None:
    """What modules of the zygote hold of the script's: objects with a finalizer, files with what was not flushed.

    The last first: a text over its buffer.
    """
    for one in reversed(gc.get_objects()):
        if hasattr(type(one), "__del__"):
            _call(one.__del__, type(one).__del__)


def _call(function: Callable[[], object], what: object, message: str | None = None) -> bool:
    """False when it raised, which is told as the interpreter does it where it can't raise."""
    try:
        function()
    except BaseException as error:
        place = error.__traceback__ and error.__traceback__.tb_next
        told = _Unraisable((type(error), error.with_traceback(place), place, message, None if message else what))
        with suppress(Exception):
            sys.unraisablehook(told)
        return False
    return True


_Unraisable: Any = next(kind for kind in tuple.__subclasses__() if kind.__name__ == "UnraisableHookArgs")
