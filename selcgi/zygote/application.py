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
from contextlib import suppress
from typing import Any
from wsgiref.handlers import BaseCGIHandler

from selcgi.errors import LoadFailed
from selcgi.zygote.preload import last_line
from selcgi.zygote.script import read_source

_NO_HEADERS = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # a control character, or one that ISO-8859-1 lacks
# Frameworks check host names by it, and import it at their first request, which each child's is.
_AT_FIRST = "encodings.idna"
Application = Callable[[dict[str, Any], Any], Any]


def load(name: str, path: str, descriptor: int) -> Application:
    """`name` is NAME of the script `path`, which is open as `descriptor`, or MODULE:NAME, found from its folder on.

    LoadFailed when that fails, or when it is nothing that can be called.
    """
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 - no object of it is needed
    importlib.import_module(_AT_FIRST)
    module, _, attribute = name.rpartition(":")
    what = f"the WSGI application {name} of {path}"
    try:
        found: Any = importlib.import_module(module) if module else _execute(path, descriptor)
        found = getattr(found, attribute)
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


class _ClientGone(Exception):
    """The worker takes no more of the answer."""


class _Gateway(BaseCGIHandler):
    """One request. wsgiref writes each piece as it comes, and gives an answer of one piece its length."""

    os_environ: dict[str, str] = {}
    wsgi_run_once = True
    failed = False
    _broken = False
    _left: int | None = None  # bytes of the length that the application has told; None: it has not
    headers_sent: bool  # this and the next are wsgiref's own, unknown to its types
    environ: dict[str, Any]
    headers: Any
    status: Any

    def run(self, application: Any) -> None:
        """Not wsgiref's, which takes every broken connection for the client's: an application has others."""
        returned = None
        with suppress(_ClientGone):
            try:
                self.setup_environ()
                returned = self.result = application(self.environ, self.start_response)
                self.finish_response()
            except _ClientGone:
                raise
            except BaseException:  # SystemExit too: it is no answer
                self.handle_error()
        self._close(returned)
        if self._broken:
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGABRT)

    def finish_response(self) -> None:
        """Not wsgiref's, which closes what it sends, an application's answer a second time when that raises."""
        for data in self.result:
            self.write(data)
        self.finish_content()

    def _close(self, returned: Any) -> None:
        """Once, whatever has become of the answer (PEP 3333), which is none the worse for what is raised here."""
        try:
            if hasattr(returned, "close"):
                returned.close()
        except _ClientGone:
            return
        except BaseException:
            self.log_exception(sys.exc_info())

    def get_scheme(self) -> str:
        named = self.environ.get("REQUEST_SCHEME", "")
        return named if named in ("http", "https") else super().get_scheme()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """A line break in one of them would begin a header of its own, or the body."""
        for name, value in (("Status", status), *headers):
            if _NO_HEADERS.search(name + value):
                raise ValueError(f"the header {name!r} has in its name or value what no header can have: {value!r}")
        if any(name.lower() == "status" for name, _ in headers):
            raise ValueError("the header Status is the gateway's own")
        return super().start_response(status, headers, exc_info)

    def log_exception(self, exc_info: Any) -> None:
        self.failed = True
        super().log_exception(exc_info)

    def handle_error(self) -> None:
        """Of an answer that has begun, nothing but the end by a signal says that the rest is missing."""
        self._broken = self.headers_sent
        super().handle_error()

    def write(self, data: bytes) -> None:
        """The headers wait for the first piece that is not empty: until then the application may take them back.

        Nothing is written past the length that it has told.
        """
        if not data or self._left == 0:
            return
        if not self.headers_sent and self.headers is not None:
            told = self.headers.get("Content-Length") or ""
            self._left = int(told) if told.isdecimal() else None
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        super().write(data)

    def set_content_length(self) -> None:
        if self._has_length():
            super().set_content_length()

    def finish_content(self) -> None:
        if self.headers_sent or self._has_length():
            super().finish_content()
        else:
            self.send_headers()

    def _has_length(self) -> bool:
        """No length of 0 where the answer has no body anyhow (RFC 9110 section 8.6)."""
        bodiless = self.environ.get("REQUEST_METHOD") == "HEAD" or str(self.status)[:3] in ("204", "304")
        return bool(getattr(self, "bytes_sent", 0)) or not bodiless

    def _write(self, data: bytes) -> None:
        try:
            super()._write(data)
        except BrokenPipeError:
            raise _ClientGone from None

    def _flush(self) -> None:
        """Not wsgiref's, which from the second time on is the stream's own."""
        try:
            self.stdout.flush()
        except BrokenPipeError:
            raise _ClientGone from None


def run(application: Application, environ: Mapping[str, str]) -> int:
    """Ask it, in a child. The exit status: 1 when it has raised.

    What it prints goes to stderr: stdout is the answer.
    """
    sys.stdout = sys.stderr
    variables = {_native(name): _native(value) for name, value in environ.items()}
    for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"):  # applications ask for them without a thought
        variables.setdefault(name, "")
    # What is left to write to a client that has gone is tried once more at the end.
    with suppress(BrokenPipeError), open(0, "rb", closefd=False) as body, open(1, "wb", closefd=False) as answer:
        gateway = _Gateway(body, answer, sys.stderr, variables, multithread=False, multiprocess=True)
        gateway.run(application)
    return int(gateway.failed)


def _native(text: str) -> str:
    """Bytes as ISO-8859-1, "a note on string types" of PEP 3333, from what os.environ has made of them."""
    return os.fsencode(text).decode("latin-1")
