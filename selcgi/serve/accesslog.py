"""One line a request, written at its end: always the same fields in the same order, as text or JSON.

Decides which fields there are and what level the line has. Must not decide what is worth a line, nor how a value is
written: serve/escapes.py. Filled by serve/request.py and serve/relay.py, written by serve/request.py.
"""

import logging
import time
from dataclasses import dataclass, fields
from functools import lru_cache

from selcgi.errors import LaunchFailed, SelcgiError
from selcgi.plan import Exit
from selcgi.serve import log
from selcgi.serve.escapes import are_plain, number, words
from selcgi.serve.log import utc

Value = str | int | float | tuple[str, ...] | None


@dataclass(init=False)
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
    limit: str = ""  # the one that was hit; this and what follows is not in the line
    waited: float = 0.0  # seconds, for its turn
    complained: bool = False  # what its script wrote to stderr speaks of EACCES or EPERM
    alone: bool = False  # no other request has its context while it runs
    case: object | None = None  # what serve/denials.py knows of it, as long as it waits for more

    def __init__(self, **given: object) -> None:
        """Most fields of most requests are never set: those are the class's own."""
        self.__dict__.update(given)

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
        level = logging.WARNING if self.reason or self.denied or self.fix else logging.INFO
        if self.reason and self.status == LaunchFailed.status:
            level = logging.ERROR
        log.write_line(level, self)

    def fields(self) -> dict[str, Value]:
        return {name: getattr(self, name) for name in _NAMES if name not in _WHEN_SET or getattr(self, name)}

    def __str__(self) -> str:
        return self._usual() or words(self.fields())

    def _usual(self) -> str:
        """The same line in one piece, where nothing in it needs quotes and nothing went wrong; "" for any other."""
        if not (_SELDOM.isdisjoint(self.__dict__) and (self.exit or "0").isdigit()):
            return ""
        shared = _shared((self.listener, self.user, self.auth, self.rule, self.context, self.script, self.method))
        if not shared:
            return ""
        return (
            f"time={self.time or '-'} id={self.id or '-'} {shared} status={self.status} "
            f"seconds={number(self.seconds)} cpu_s={'-' if self.cpu_s is None else number(self.cpu_s)} "
            f"maxrss={'-' if self.maxrss is None else self.maxrss} bytes_in={self.bytes_in} "
            f"bytes_out={self.bytes_out} exit={self.exit or '-'} killed_by=- step=-"
            + (f" selinux={self.selinux}" if self.selinux else "")
            + (f" launch={self.launch}" if self.launch else "")
        )


@lru_cache(maxsize=256)
def _shared(told: tuple[str, ...]) -> str:
    """What many requests have in common, the values of _SHARED; "" where one needs quotes."""
    return words(dict(zip(_SHARED, told, strict=True))) if are_plain(*told) else ""


_SHARED = ("listener", "user", "auth", "rule", "context", "script", "method")
_INNER = ("limit", "waited", "complained", "alone", "case")
_NAMES = tuple(field.name for field in fields(Entry) if field.name not in _INNER)
_WHEN_SET = {"redirect", "selinux", "reason", "fix", "denied", "launch"}
_SELDOM = _WHEN_SET - {"selinux"} | {"killed_by", "step"}
