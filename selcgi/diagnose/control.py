"""Ask a running selcgi over its control socket; the other end is serve/control.py.

Decides nothing. Used by `selcgi status` and diagnose/probing.py.
"""

import http.client
import socket
from pathlib import Path

from selcgi.errors import StartRefused

CONTROL = Path("/run/selcgi/control/control.sock")
_SECONDS = 10.0


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


def ask(control: Path, path: str, method: str = "GET") -> str:
    """A page of the control process. StartRefused when nobody answers, or there is no such page."""
    connection = _Connection(control)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error
        fix = f"is selcgi serve running, and with --control {control}?"
        if isinstance(error, PermissionError):
            fix = "ask as its user: runuser -u selcgi -- selcgi .."
        raise StartRefused(f"no selcgi answers at {control}: {why}", fix) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise StartRefused(f"the selcgi at {control} has no {path}", "restart it: it is older than this command")
    return text
