"""A running selcgi for the tests, and a FastCGI client that asks it: on the host and in the guest alike.

`Selcgi` is the real program in its own process, with its log as values; `ask` is one request over its socket, with
the params that a web server would send. Used by tests/e2e, tests/enforcing, tests/robust and tests/bench.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selcgi.errors import ProtocolError
from selcgi.serve.client import request

TREE = Path(__file__).resolve().parent.parent
PROGRAM = (sys.executable, str(TREE / "bin" / "selcgi"))
PATIENCE = 20.0  # seconds until something that must happen counts as not happening
_ANSWERS: Counter[Path] = Counter()  # that ask() has got from a socket since its selcgi was started


def wait_until(what: str, condition: Any, seconds: float = PATIENCE, pause: float = 0.01) -> None:
    """Until `condition()` is true; an AssertionError that names `what` otherwise. `pause` is for a costly one."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(pause)


@dataclass(frozen=True)
class Answer:
    """One response as the web server got it. `complete` is False when the connection broke off before its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    stderr: bytes = b""
    complete: bool = True

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def to_answer(raw: bytes, stderr: bytes, complete: bool) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n") if line]
    headers = {name.title(): value for name, _, value in lines}
    return Answer(int(headers.get("Status", "0").split()[0]), headers, body, stderr, complete)


class Selcgi:
    """`selcgi serve` on a UNIX socket in `folder`. A context manager: at its end the program has ended."""

    def __init__(self, folder: Path, *options: str, program: tuple[str, ...] = PROGRAM, identity: str = "remote-user",
                 environ: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.socket = folder / "selcgi.sock"
        self.log_path = folder / "selcgi.log"
        listen = f"unix:{self.socket},identity={identity},mode=0666"
        shared = ["serve", f"--listen={listen}", "--log-format=json", "--cgroup=none"]
        self._line = [*program, *shared, *options]
        self._environ = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(TREE)), **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Selcgi":
        _ANSWERS[self.socket] = 0
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self._line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ
            )
        try:
            wait_until("selcgi is ready", lambda: self._ended() or "is ready" in self.log())
            assert not self._ended(), f"selcgi did not start:\n{self.log()}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if not self._ended():
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"selcgi did not end:\n{self.log()}") from None

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def entries(self) -> list[dict[str, Any]]:
        """The line of each request, as fields, those of all that ask() had answered among them: a line comes later."""
        wait_until("a line for each answer", lambda: len(self.written()) >= _ANSWERS[self.socket])
        return self.written()

    def written(self) -> list[dict[str, Any]]:
        """Not one that is just being written."""
        whole = self.log().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if '"status": ' in line]

    def entry(self, number: int = -1) -> dict[str, Any]:
        """One of them; waits for the first to be written."""
        wait_until("a line in the log", self.entries)
        return self.entries()[number]

    def signal(self, signum: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]


@dataclass
class Ask:
    """One request. `script` is an absolute path with its PATH_INFO; `params` are added or override; None drops one."""

    script: str
    user: str = ""
    query: str = ""
    method: str = "GET"
    body: bytes | None = None
    params: Mapping[str, str | None] = field(default_factory=dict)

    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        url = "/cgi-bin/" + self.script.rsplit("/cgi/", 1)[-1]
        values: dict[str, str | None] = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": "tests",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": self.method if self.body is None or self.method != "GET" else "POST",
            "REQUEST_URI": url + (f"?{self.query}" if self.query else ""),
            "SCRIPT_NAME": url,
            "SCRIPT_FILENAME": self.script,
            "QUERY_STRING": self.query,
            "CONTENT_LENGTH": str(len(self.body or b"")),
            "REMOTE_USER": self.user,
            "AUTH_TYPE": "Basic" if self.user else "",
        }
        values.update(self.params)
        return tuple((name.encode(), os.fsencode(value)) for name, value in values.items() if value is not None)


async def ask_async(path: Path, asked: Ask) -> Answer:
    """Send one request, take in its answer."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, str(path))
    out, err = bytearray(), bytearray()
    try:
        await request(sock, asked.pairs(), _pieces(asked.body or b""), out.extend, err.extend)
    except (ProtocolError, ConnectionError):
        return to_answer(bytes(out), bytes(err), False)
    _ANSWERS[path] += 1
    return to_answer(bytes(out), bytes(err), True)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


def ask(path: Path, asked: Ask) -> Answer:
    return asyncio.run(ask_async(path, asked))


def ask_all(path: Path, asked: list[Ask]) -> list[Answer]:
    """All at once."""

    async def together() -> list[Answer]:
        return list(await asyncio.gather(*(ask_async(path, one) for one in asked)))

    return asyncio.run(together())
