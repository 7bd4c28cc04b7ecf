"""One line a request, written at its end: always the same fields in the same order, as text or JSON.

Decides how a value is written so that no request can forge a line or a field. Must not decide what is worth a line.
Filled by serve/request.py and serve/relay.py, written by serve/request.py.
"""

import json
import logging
import re
import time
from dataclasses import dataclass, fields

from selcgi.errors import LaunchFailed, SelcgiError
from selcgi.plan import Exit
from selcgi.serve.log import utc

LOG = logging.getLogger("selcgi")
Value = str | int | float | tuple[str, ...] | None
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,*~()-]+")


@dataclass(slots=True)
class Entry:
    """The fields of the line, in its order; an empty one prints as "-". Seconds are wall clock, cpu_s CPU time."""

    time: str = ""
    id: str = ""
    listener: str = ""
    user: str = ""
    auth: str = ""
    rule: str = ""
    context: str = ""
    script: str = ""
    method: str = ""
    status: int = 0
    seconds: float = 0.0
    cpu_s: float | None = None
    maxrss: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    exit: str = ""
    killed_by: str = ""
    step: str = ""
    redirect: str = ""  # the path that a local redirect led to; the line of the script there has the same id
    selinux: str = ""  # "off" or "permissive-ok": the protection that this run does not have
    reason: str = ""
    fix: str = ""
    denied: tuple[str, ...] = ()  # what the kernel refused its script, a sentence each: serve/denials.py
    launch: str = ""  # of a script that shall run warm: "warm" in a fork of a zygote, "cold" a fresh program instead
    limit: str = ""  # the one that was hit; this and the next are not in the line
    waited: float = 0.0  # seconds, for its turn
    alone: bool = False  # no other request has its context while it runs
    case: object | None = None  # what serve/denials.py knows of it, as long as it waits for more

    def blame(self, error: SelcgiError) -> None:
        """The first error of a request is its cause; what follows from it is not."""
        if not self.reason:
            self.step, self.reason, self.fix, self.limit = error.step, error.reason, error.fix, error.limit

    def followed(self, target: str, method: str) -> "Entry":
        """This script's answer is a local redirect that is followed inside. The line of the next one."""
        self.status, self.redirect = 302, target
        return Entry(
            id=self.id, listener=self.listener, user=self.user, auth=self.auth, method=method, selinux=self.selinux
        )

    def ended(self, how: Exit) -> None:
        self.exit, self.cpu_s, self.maxrss = str(how), round(how.cpu_seconds, 6), how.maxrss_bytes

    def write(self) -> None:
        """The line; a launch that failed or lost its context is an error, any other refusal a warning."""
        self.time = self.time or utc(time.time())
        level = logging.INFO if not self.reason and not self.denied else logging.WARNING
        if self.reason and self.status == LaunchFailed.status:
            level = logging.ERROR
        if LOG.isEnabledFor(level):
            LOG.log(level, "%s", self, extra={"fields": self.fields()})

    def fields(self) -> dict[str, Value]:
        return {name: getattr(self, name) for name in _NAMES if name not in _WHEN_SET or getattr(self, name)}

    def __str__(self) -> str:
        pairs = ((name, getattr(self, name)) for name in _NAMES)
        return " ".join(f"{name}={_text(value)}" for name, value in pairs if value or name not in _WHEN_SET)


def _text(value: Value) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    text = str(value) if not isinstance(value, tuple) else "; ".join(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


_NAMES = tuple(field.name for field in fields(Entry) if field.name not in ("limit", "waited", "alone", "case"))
_WHEN_SET = {"redirect", "selinux", "reason", "fix", "denied", "launch"}
