"""A CGI script in a zygote's child, as `python SCRIPT` would run it: the module `__main__`, and how it ends.

Decides what counts as its exit status, and that a traceback shows the script and nothing of selcgi. In the zygote the
script is compiled at most, which runs none of it. Called by zygote/main.py.
"""

import builtins
import os
import signal
import sys
import types
import warnings
from importlib.machinery import SourceFileLoader
from types import CodeType, TracebackType

_SOURCE_BYTES = 16 << 20
BY_SIGINT = -int(signal.SIGINT)  # an exit status: the end by this signal, as of a KeyboardInterrupt that nobody takes


def precompile(path: str, descriptor: int) -> CodeType | None:
    """None when there is something to say about it: then the child compiles it, and says so."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            code = _compile(path, descriptor)
        except (SyntaxError, ValueError):
            return None
    return None if warned else code


def run(code: CodeType | None, path: str, descriptor: int, *, folder_first: bool = True) -> int:
    """In the child. The exit status, or BY_SIGINT. `folder_first`: modules beside the script are found first."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=path, __cached__=None, __annotations__={})
    module.__loader__ = SourceFileLoader("__main__", path)
    sys.modules["__main__"] = module
    if folder_first:
        sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    try:
        code = code or _compile(path, descriptor)
        os.close(descriptor)
        exec(code, module.__dict__)  # noqa: S102 - that is what it is for
        return 0
    except SystemExit as error:
        return _status(error.code)
    except BaseException as error:
        raised = error
    # Outside of the handler: what a hook raises is raised in no context.
    place = raised.__traceback__.tb_next if raised.__traceback__ is not None else None
    return _show(raised, None if _is_ours(place) else place)


def _compile(path: str, descriptor: int) -> CodeType:
    return compile(read_source(descriptor), path, "exec", dont_inherit=True)


def read_source(descriptor: int) -> bytes:
    """ValueError when it is too long."""
    source = os.pread(descriptor, _SOURCE_BYTES + 1, 0)
    if len(source) > _SOURCE_BYTES:
        raise ValueError(f"a warm interpreter takes no script of more than {_SOURCE_BYTES} bytes")
    return source


def _is_ours(place: TracebackType | None) -> bool:
    """Raised by _compile(), not by the script."""
    return place is not None and place.tb_frame.f_code is _compile.__code__


def _status(code: object) -> int:
    """Of sys.exit(code): as pythonrun.c, handle_system_exit(), has it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _show(error: BaseException, place: TracebackType | None) -> int:
    """What the interpreter does with an exception that nobody has caught."""
    error.__traceback__ = place
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, place
    try:
        sys.excepthook(type(error), error, place)
    except SystemExit as another:
        return _status(another.code)
    except BaseException as another:
        within = another.__traceback__.tb_next if another.__traceback__ is not None else None
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(another), another.with_traceback(within), within)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, place)
    return BY_SIGINT if isinstance(error, KeyboardInterrupt) else 1
