"""A CGI script in a zygote's child, as `python SCRIPT` would run it: the module `__main__`, and how it ends.

Decides what counts as its exit status, and that a traceback shows the script and nothing of selcgi. In the zygote the
script is compiled at most; it must not run there, nor say a word. Called by zygote/main.py.
"""

import builtins
import ctypes
import os
import signal
import sys
import types
import warnings
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from types import CodeType, TracebackType

from selcgi.errors import LoadFailed

_SOURCE_BYTES = 16 << 20
_FILE_INPUT = 257  # Include/compile.h, Py_file_input
BY_SIGINT = -int(signal.SIGINT)  # an exit status: the end by this signal, as of a KeyboardInterrupt that nobody takes


def precompile(path: str, descriptor: int) -> CodeType | None:
    """None when there is something to say about it: then the child does it as a fresh interpreter, and says so.

    LoadFailed when it is none of Python's.
    """
    if os.pread(descriptor, 2, 0) != b"#!":
        fix = "begin it with #!/usr/bin/python3, or leave warm= out of the rule"
        raise LoadFailed(f"{path} has no first line that names Python", fix)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            code = compile(read_source(descriptor), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return None if warned else code


def read_source(descriptor: int) -> bytes:
    """ValueError when it is too long."""
    source = os.pread(descriptor, _SOURCE_BYTES + 1, 0)
    if len(source) > _SOURCE_BYTES:
        raise ValueError(f"a warm interpreter takes no script of more than {_SOURCE_BYTES} bytes")
    return source


def run(code: CodeType | None, path: str, descriptor: int, *, folder_first: bool = True) -> int:
    """In the child. The exit status, or BY_SIGINT. `folder_first`: modules beside the script are found first."""
    if folder_first:
        sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    names = _make_main(path)
    try:
        if code is None:
            _run_file(path, descriptor, names)
        else:
            os.close(descriptor)
            exec(code, names)  # noqa: S102 - that is what it is for
        raised = None
    except BaseException as error:
        raised = error
    # Outside of the handler: what a hook raises is raised in no context.
    _flush()
    return 0 if raised is None else _end(raised, 1 if code is not None else 2)


def _make_main(path: str) -> dict[str, object]:
    """The names of a new module `__main__`, which sys.modules alone holds: it goes when that lets it go."""
    like = vars(sys.modules["__main__"])
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if "__mp_main__" in sys.modules:  # multiprocessing, for what comes back from a process that it has spawned
        sys.modules["__mp_main__"] = main
    names = main.__dict__
    names.update((name, None) for name in like if name[:2] == "__" and name not in names)
    if "__annotations__" in names:
        names["__annotations__"] = {}
    names.update(__loader__=SourceFileLoader("__main__", path), __builtins__=builtins, __file__=path)
    return names


def _run_file(path: str, descriptor: int, names: dict[str, object]) -> None:
    """As the interpreter itself reads and runs a file: its words on a syntax error hang on how it was read."""
    run_file = ctypes.pythonapi.PyRun_FileExFlags
    run_file.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object, *_INTS
    run_file.restype = ctypes.py_object
    library = ctypes.CDLL(None)
    library.fdopen.restype = ctypes.c_void_p
    os.lseek(descriptor, 0, os.SEEK_SET)
    run_file(library.fdopen(descriptor, b"rb"), os.fsencode(path), _FILE_INPUT, names, names, 1, None)


_INTS = (ctypes.c_int, ctypes.c_void_p)


def _end(error: BaseException, frames: int) -> int:
    """The exit status, once it has been told. `frames` of the traceback are selcgi's."""
    place = error.__traceback__
    for _ in range(frames):
        place = place and place.tb_next
    error.__traceback__ = place
    if isinstance(error, SystemExit):
        return _status(error)
    return _show(error, place)


def _status(error: SystemExit) -> int:
    """As pythonrun.c, handle_system_exit(), has it."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -1 << 63 <= code < 1 << 63 else 0xFF
    with suppress(Exception):
        _say(str(code))
    _say("\n")
    return 1


def _show(error: BaseException, place: TracebackType | None) -> int:
    """What the interpreter does with an exception that nobody has caught: PyErr_PrintEx()."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, place
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        hook = sys.excepthook
    except AttributeError:
        _say("sys.excepthook is missing\n")
        hook = sys.__excepthook__
    try:
        hook(type(error), error, place)
    except SystemExit as another:
        return _status(another)
    except BaseException as another:
        within = another.__traceback__ and another.__traceback__.tb_next
        _say("Error in sys.excepthook:\n")
        sys.__excepthook__(type(another), another.with_traceback(within), within)
        _say("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, place)
    kinds = isinstance(error, KeyboardInterrupt) and sys.version_info >= (3, 14)  # those derived from it count, too
    return BY_SIGINT if kinds or type(error) is KeyboardInterrupt else 1


def _say(text: str) -> None:
    with suppress(Exception):
        if sys.stderr is not None:
            sys.stderr.write(text)
        else:  # typeshed knows of none
            os.write(2, text.encode(errors="backslashreplace"))


def _flush() -> None:
    """Before anything is told of the end: pythonrun.c, flush_io()."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except Exception:  # noqa: S112 - as the interpreter does it
            continue
