"""A WSGI application (PEP 3333): loaded once in the zygote, asked once in each of its children.

Decides where it is found, and that an answer that breaks off in its middle does not look whole. To the worker the child
is a CGI script: the request comes from the environment and stdin, the answer goes to stdout (RFC 3875 section 6). The
protocol between server and application is wsgiref's. Must not load anything in a child. Called by zygote/main.py.
"""

import importlib
import os
import re
import signal
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any
from wsgiref.handlers import BaseCGIHandler

from selcgi.errors import LoadFailed
from selcgi.zygote.preload import last_line
from selcgi.zygote.script import read_source

Application = Callable[[dict[str, Any], Any], Any]


def load(name: str, path: str, descriptor: int) -> Application:
    """`name` is NAME of the script `path`, which is open as `descriptor`, or MODULE:NAME, found from its folder on.

    LoadFailed when that fails, or when it is nothing that can be called.
    """
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 - no object of it is needed
    module, _, attribute = name.rpartition(":")
    what = f"the WSGI application {name} of {path}"
    try:
        found: Any = importlib.import_module(module) if module else _execute(path, descriptor)
        for part in attribute.split("."):
            found = getattr(found, part)
    except BaseException as error:  # whatever its module-level code raises: SystemExit too
        raise LoadFailed(f"{what} can't be loaded: {last_line(error)}", "see its lines in the log") from error
    if not callable(found):
        kind = type(found).__name__
        raise LoadFailed(f"{what} is a {kind}, which can't be called", "name the application: warm=wsgi:NAME")
    return found  # type: ignore[no-any-return]


def _execute(path: str, descriptor: int) -> types.ModuleType:
    """The script as a module whose name is no other's: app.wsgi may well import app."""
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
    module = types.ModuleType("_wsgi_" + re.sub(r"\W", "_", stem))
    module.__file__ = path
    sys.modules[module.__name__] = module
    code = compile(read_source(descriptor), path, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - the administrator has named it
    return module


class _Gateway(BaseCGIHandler):
    """One request. wsgiref writes each piece as it comes, and gives an answer of one piece its length."""

    os_environ: dict[str, str] = {}
    wsgi_run_once = True
    failed = False

    def log_exception(self, exc_info: Any) -> None:
        self.failed = True
        super().log_exception(exc_info)

    def handle_error(self) -> None:
        """Of an answer that has begun, nothing but the end by a signal says that the rest is missing."""
        begun = bool(getattr(self, "headers_sent", False))  # wsgiref's own, unknown to its types
        super().handle_error()
        if begun:
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGABRT)

    def write(self, data: bytes) -> None:
        """The headers wait for the first piece that is not empty: until then the application may take them back."""
        if data:
            super().write(data)


def run(application: Application, environ: Mapping[str, str]) -> int:
    """Ask it, in a child. The exit status: 1 when it has raised.

    What it prints goes to stderr: stdout is the answer.
    """
    sys.stdout = sys.stderr
    variables = {_native(name): _native(value) for name, value in environ.items()}
    for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"):  # applications ask for them without a thought
        variables.setdefault(name, "")
    with open(0, "rb", closefd=False) as body, open(1, "wb", closefd=False) as answer:
        gateway = _Gateway(body, answer, sys.stderr, variables, multithread=False, multiprocess=True)
        gateway.run(application)
    return int(gateway.failed)


def _native(text: str) -> str:
    """Bytes as ISO-8859-1, "a note on string types" of PEP 3333, from what os.environ has made of them."""
    return os.fsencode(text).decode("latin-1")
