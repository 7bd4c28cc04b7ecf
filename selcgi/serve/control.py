"""The control process: answers /status, /metrics and /probe over a UNIX socket, /metrics over a loopback port too.

Decides nothing about requests: it reads the board, gives out the token of probes, and ends with its supervisor. As a
fork it has its supervisor's memory, secrets included, so it does nothing with a question but look its path up in a
table. One question at a time, each within seconds as a whole, so that a slow asker costs little more than its own
answer. The socket is its owner's only. Forked by serve/supervisor.py; asked by diagnose/control.py.
"""

import io
import json
import select
import signal
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, TCPServer
from typing import Any, NamedTuple

from selcgi.policy.ports import METRICS
from selcgi.serve import log
from selcgi.serve.board import Board
from selcgi.serve.status import metrics, status
from selcgi.settings import ListenerSettings, Settings
from selcgi.system.memory import private_bytes
from selcgi.system.sockets import open_listener

_SECONDS = 2.0  # for one question, and for each part of its answer
_JSON = "application/json"
_NUMBERS = ("GET /metrics",)  # all that the loopback port answers


class _Question(io.RawIOBase):
    """What an asker sends, until its time is over: the timeout of a socket is one of each read."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self._end = time.monotonic() + _SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class Answerer(BaseHTTPRequestHandler):
    """One question (RFC 9112). `pages`: method and path -> content type and what makes the text."""

    timeout = _SECONDS
    server_version = "selcgi"
    pages: dict[str, tuple[str, Callable[[], str]]] = {}

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Question(self.connection))

    def do_GET(self) -> None:
        kind, make = self.pages.get(f"{self.command} {self.path}", ("", None))
        text = make().encode() if make is not None else b""
        self.send_response(200 if make is not None else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that BaseHTTPRequestHandler looks for

    def log_message(self, *_: Any) -> None:
        """Not in the log of requests."""

    def address_string(self) -> str:
        return "-"


class _Server(TCPServer):
    """On a socket that was opened before; an asker that vanishes is no error."""

    def __init__(self, sock: socket.socket, pages: dict[str, tuple[str, Callable[[], str]]]) -> None:
        BaseServer.__init__(self, sock.getsockname(), type("Asked", (Answerer,), {"pages": pages}))
        self.socket = sock

    def handle_error(self, *_: Any) -> None:
        """The answer was not wanted any more."""


class Sockets(NamedTuple):
    """Of the control process: those that are asked everything, and those that are asked for metrics only."""

    full: list[socket.socket]
    numbers: list[socket.socket]


def open_control(settings: Settings) -> Sockets:
    """--control, for its owner only, and --metrics, on loopback. StartRefused when one can't be had like that."""
    full = ListenerSettings(f"unix:{settings.control}", mode=0o600)
    numbers = ListenerSettings(f"tcp:{settings.metrics}")
    return Sockets(
        open_listener(full) if settings.control is not None else [],
        open_listener(numbers, METRICS) if settings.metrics else [],
    )


def _pages(board: Board, note: str) -> dict[str, tuple[str, Callable[[], str]]]:
    """What is answered to whom may ask everything. /probe is for `selcgi check-front`."""
    probe = board.probe
    return {
        "GET /status": (_JSON, lambda: json.dumps(status(board, note, private_bytes))),
        "GET /metrics": ("text/plain; version=0.0.4", lambda: metrics(status(board, note))),
        "POST /probe": (_JSON, lambda: json.dumps({"token": probe.arm()})),
        "GET /probe": (_JSON, lambda: json.dumps({"lost_client": probe.lost_client.name})),
        "DELETE /probe": (_JSON, lambda: json.dumps({"token": probe.disarm()})),
    }


def run_control(board: Board, note: str, sockets: Sockets, lifeline: int) -> None:
    """Answer until SIGTERM or until the supervisor is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    servers = [_Server(sock, _pages(board, note)) for sock in sockets.full]
    servers += [_Server(sock, {name: _pages(board, note)[name] for name in _NUMBERS}) for sock in sockets.numbers]
    by_fd = {server.fileno(): server for server in servers}
    while lifeline not in (ready := select.select([lifeline, *by_fd], [], [])[0]):
        for fd in ready:
            by_fd[fd].handle_request()
