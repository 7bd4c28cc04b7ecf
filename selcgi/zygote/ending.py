"""The end of a zygote's child, as the interpreter's own: threads, atexit, streams, then the script's objects.

Decides that what the script has made is taken down, so that a file that it did not close has all that was written to
it, and that what came from the zygote is left alone: to take that down would copy all of it, and change nothing. The
order is that of pylifecycle.c, Py_FinalizeEx(). Called by zygote/main.py, last.
"""

import atexit
import gc
import itertools
import os
import signal
import sys
import weakref
from types import ModuleType
from typing import Any, NoReturn, cast

_REMEMBERED = ("last_type", "last_value", "last_traceback", "last_exc")
_FLUSH_FAILED = 120  # Py_RunMain(), when Py_FinalizeEx() fails


def end(status: int, last: str) -> NoReturn:
    """End this process with `status`; a negative one is a signal. `last`: the last of the zygote's own modules."""
    try:
        _join_threads()
        atexit._run_exitfuncs()
        failed = not _flush()
        _take_down(last)
        failed = not _flush() or failed
    except BaseException:  # of an atexit function, as SystemExit; the end goes on
        failed = True
    if status < 0 and not failed:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(_FLUSH_FAILED if failed else status)


def _join_threads() -> None:
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()


def _flush() -> bool:
    """False when what was printed is lost: the worker has closed its end."""
    whole = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or getattr(stream, "closed", True):
            continue
        try:
            stream.flush()
        except Exception as error:
            if name == "stdout":
                sys.unraisablehook(cast(Any, _Unraisable(error, stream)))
                whole = False
    return whole


class _Unraisable:
    """What sys.unraisablehook takes."""

    def __init__(self, error: Exception, stream: object) -> None:
        self.exc_type, self.exc_value, self.exc_traceback = type(error), error, None
        self.err_msg, self.object = None, stream


def _take_down(last: str) -> None:
    """`__main__` and the modules that the script has loaded: most go with their last reference, the rest is cleared.

    Those are at the end of sys.modules: to look at every name there would copy the pages that they lie on.
    """
    for name in _REMEMBERED:
        if name in sys.__dict__:
            setattr(sys, name, None)
    names = [*itertools.takewhile(lambda name: name != last, reversed(sys.modules)), "__main__"]
    modules = [weakref.ref(module) for name in names if isinstance(module := sys.modules.pop(name, None), ModuleType)]
    module = None
    gc.collect()
    for alive in modules:
        if (module := alive()) is not None:
            _clear(module.__dict__)
    gc.collect()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _clear(values: dict[str, Any]) -> None:
    """As _PyModule_Clear() of moduleobject.c does it: private names first."""
    for private in (True, False):
        for name in list(values):
            if (name[:1] == "_" and name[1:2] != "_") is private and name != "__builtins__":
                values[name] = None
