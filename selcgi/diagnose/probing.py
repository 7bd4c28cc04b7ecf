"""Probes through a web server to the selcgi behind it, and what that selcgi says of them.

Decides how a probe is sent; what it means is diagnose/front.py's and diagnose/forging.py's to say. It goes the whole
way, through the real configuration of both. selcgi answers it by itself (serve/probeanswer.py), and only for a token
that its control socket gave out, so no script is run. Must not change anything on either side.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from selcgi.diagnose.control import ask
from selcgi.diagnose.webclient import Headers, Reply, Target, basic, chunked, connect, head, send
from selcgi.errors import StartRefused

_LOOK_SECONDS = 0.05
_LOST_SECONDS = 2.0  # until a lost client counts as not reported


class Account(NamedTuple):
    """Whom the web server knows."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Told:
    """A probe answer. The values of a param are a list: it may have come twice."""

    probe: str  # selcgi's version
    server: str  # SERVER_SOFTWARE
    identity: str  # what the listener takes for a proof
    user: str | None  # whom it takes the user for
    refused: str
    fix: str
    remote_user: list[str]
    auth_type: list[str]
    content_length: list[str]
    proof: bool  # whether one was sent
    http_proxy: bool
    passwords: list[str]  # names of params that hold one
    received: int  # bytes of the body


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a probe. `told` is None when the answer is not selcgi's."""

    reply: Reply
    told: Told | None


class Front:
    """A web server, to be asked. `rightful` are the headers of the account, empty without one."""

    def __init__(self, target: Target, control: Path, account: Account | None) -> None:
        self.account = account
        self.rightful: Headers = (basic(*account),) if account is not None else ()
        self.entitled = ""  # as whom the account counts
        self.software = ""
        self._target = target
        self._control = control
        self._token = ""

    @property
    def server(self) -> str:
        """nginx, apache, lighttpd, haproxy, caddy."""
        return self.software.partition("/")[0].partition(" ")[0].lower()

    @contextmanager
    def armed(self) -> Iterator[Told]:
        """While it lasts, selcgi answers probes. StartRefused when the URL leads to another one, or nowhere."""
        connect(self._target).close()
        self._token = json.loads(ask(self._control, "/probe", "POST"))["token"]
        try:
            yield self._greet()
        finally:
            ask(self._control, "/probe", "DELETE")

    def _greet(self) -> Told:
        first = self.probe(self.rightful)
        if first.told is None:
            raise StartRefused(*_unreached(first.reply, self.account))
        self.software, self.entitled = first.told.server, first.told.user or "" if self.account is not None else ""
        return first.told

    def request(self, headers: Headers, question: str, method: str = "GET", absolute: bool = False) -> bytes:
        token = ("X-Selcgi-Probe", f"{self._token}.{question}")
        return head(self._target, method, (token, *headers), absolute)

    def probe(self, headers: Headers, question: str = "show", absolute: bool = False) -> Seen:
        return _seen(send(self._target, self.request(headers, question, absolute=absolute)))

    def upload(self, body: bytes) -> Seen:
        headers = (*self.rightful, ("Transfer-Encoding", "chunked"), ("Content-Type", "application/octet-stream"))
        return _seen(send(self._target, self.request(headers, "show", "POST") + chunked(body)))

    def leave(self) -> str:
        """Ask, and go while selcgi is silent: NONE, WAITS or REPORTED, as serve/probe.py has it."""
        with connect(self._target) as sock:
            with suppress(OSError):  # then it does not arrive
                sock.sendall(self.request(self.rightful, "wait"))
            if self._lost_client(lambda state: state != "NONE") == "NONE":
                return "NONE"
        return self._lost_client(lambda state: state == "REPORTED")

    def _lost_client(self, wanted: Callable[[str], bool]) -> str:
        end = time.monotonic() + _LOST_SECONDS
        while True:
            state = str(json.loads(ask(self._control, "/probe"))["lost_client"])
            if wanted(state) or time.monotonic() > end:
                return state
            time.sleep(_LOOK_SECONDS)


def _seen(reply: Reply) -> Seen:
    try:
        return Seen(reply, Told(**json.loads(reply.body)))
    except (ValueError, TypeError):  # somebody else's answer
        return Seen(reply, None)


def _unreached(reply: Reply, account: Account | None) -> tuple[str, str]:
    if reply.status == 401:
        fix = "give --auth USER:PASSWORD of an account" if account is None else "is the password right?"
        return "the web server asks for a password and lets no probe through", fix
    came = f"the answer was {reply.status}" if reply.status else "no answer came"
    where = {name.lower(): value for name, value in reply.headers}.get("location", "")
    fix = f"give the URL that it leads to: {where[:200]!a}" if where else "give the URL of a script"
    return f"no probe got through to this selcgi, {came}", f"{fix}; is --control that of the selcgi behind it?"
