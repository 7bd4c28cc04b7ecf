"""Records of the kernel's audit as values: what was refused, to whom, on what. Pure: text in, a Denial or nothing out.

Decides what counts as a statement of the kernel about a refusal: type 1400 (AVC) and 1401 (SELINUX_ERR), in the form
that security/selinux/avc.c and ss/services.c give them. A string in them is quoted, or hex when it holds a blank, a
quote or a control character (kernel/audit.c, audit_log_n_untrustedstring), so no name can forge a field. Garbage is
BadRecord, and nothing else. Used by listener/, and by serve/ for what the listener sends.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from selcgi.errors import BadRecord

AVC, SELINUX_ERR, POLICY_LOAD, ENFORCING = 1400, 1401, 1403, 1404  # include/uapi/linux/audit.h
PACKET_BYTES = 4096  # of a Denial on its way from the listener to a worker
LOST = b"lost "  # begins a packet that says how many refusals did not fit into the worker's socket, whosever they were
HELLO = b"hello"  # the listener's first packet: from now on it hears

_TEXT = 512  # characters of a string, the end counts: it is the file's name
_STAMP = re.compile(r"audit\((\d{1,12})\.(\d{3}):(\d{1,10})\): (.*)", re.DOTALL)
_AVC = re.compile(r"avc:  (denied|granted)  \{ ([a-z0-9_]+(?: [a-z0-9_]+)*) \} for  (.*)", re.DOTALL)
_FIELD = re.compile(r' *([a-z][a-z_]*)=("[^"]*"|[^ "]+)')
_CONTEXT = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+(:[\w.,:-]+)?", re.ASCII)
_WORD = re.compile(r"[!-~]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STRINGS = ("comm", "path", "name", "dev", "ocomm")  # quoted or hex; the other fields are numbers or words
_KEPT = frozenset(
    ("path", "name", "dev", "ino", "dest", "src", "laddr", "lport", "faddr", "fport", "daddr", "saddr", "capability",
     "ioctlcmd", "opid", "ocomm", "reason")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Denial:
    """One refusal. `when` is in seconds since the epoch, some milliseconds early; `pid` is a whole process, not a
    thread, 0 where the record has none. `fields` are those of the record that say on what. `error` is the op= of a
    SELINUX_ERR, empty for an AVC."""

    when: float
    serial: int
    pid: int
    comm: str
    permissions: tuple[str, ...]
    source: str
    target: str
    classname: str
    fields: Mapping[str, str] = field(default_factory=dict)
    permissive: bool = False
    error: str = ""

    @property
    def same(self) -> tuple[object, ...]:
        """Equal for refusals that are one to a reader, however often they come."""
        return (self.pid, self.permissions, self.source, self.target, self.classname, tuple(self.fields.items()))


def parse(kind: int, text: str) -> Denial | None:
    """The refusal in a record of type `kind`; None for a record of another kind. BadRecord."""
    if kind not in (AVC, SELINUX_ERR):
        return None
    found = _STAMP.fullmatch(text.rstrip("\0\n "))
    if found is None:
        raise BadRecord(f"no audit(TIME:SERIAL) begins {text[:60]!a}")
    when = int(found[1]) + int(found[2]) / 1000
    if kind == AVC:
        return _avc(when, int(found[3]), found[4])
    return _error(when, int(found[3]), found[4])


def _avc(when: float, serial: int, text: str) -> Denial | None:
    found = _AVC.fullmatch(text)
    if found is None:
        raise BadRecord(f"no AVC record: {text[:60]!a}")
    if found[1] == "granted":
        return None
    fields = _fields(found[3])
    return Denial(
        when=when,
        serial=serial,
        pid=_number(fields.get("pid", "0")),
        comm=fields.get("comm", ""),
        permissions=tuple(found[2].split()),
        source=_context(fields, "scontext"),
        target=_context(fields, "tcontext"),
        classname=_word(fields, "tclass"),
        fields=_kept(fields),
        permissive=fields.get("permissive") == "1",
    )


def _error(when: float, serial: int, text: str) -> Denial | None:
    """What the security server itself could not do: a context that there is none for, a bounded domain. None for those
    that name no context of a process."""
    fields = _fields(text)
    source = "scontext" if "scontext" in fields else "oldcontext"
    target = "tcontext" if "tcontext" in fields else "newcontext"
    if "op" not in fields or source not in fields or target not in fields:
        return None
    return Denial(
        when=when,
        serial=serial,
        pid=0,
        comm="",
        permissions=tuple(filter(_NAME.fullmatch, fields.get("perms", "").split(","))),
        source=_context(fields, source),
        target=_context(fields, target),
        classname=_word(fields, "tclass") if "tclass" in fields else "process",
        fields=_kept(fields),
        error=_word(fields, "op"),
    )


def _fields(text: str) -> dict[str, str]:
    """name=value and nothing else. A name that comes twice is the kernel's in no record."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None or found[1] in fields:
            raise BadRecord(f"no fields of a record: {text[at : at + 60]!a}")
        fields[found[1]] = _string(found[2]) if found[1] in _STRINGS else found[2]
        at = found.end()
    return fields


def _kept(fields: Mapping[str, str]) -> dict[str, str]:
    """Those that say on what; one that should be a number or a word and is none is left out."""
    return {
        name: value for name, value in fields.items() if name in _KEPT and (name in _STRINGS or _WORD.fullmatch(value))
    }


def _string(raw: str) -> str:
    """As it was before the kernel wrote it down; unprintable bytes are escaped, since people read it."""
    if raw.startswith('"'):
        text = raw[1:-1]
    else:
        try:
            text = bytes.fromhex(raw).decode("utf-8", "backslashreplace")
        except ValueError:
            raise BadRecord(f"neither quoted nor hex: {raw[:60]!a}") from None
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[-_TEXT:])


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII):
        raise BadRecord(f"no number: {text[:60]!a}")
    return int(text)


def _context(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(name, "")
    if not _CONTEXT.fullmatch(text) or len(text) > _TEXT:
        raise BadRecord(f"{name} is no context: {text[:60]!a}")
    return text


def _word(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(name, "")
    if not _NAME.fullmatch(text):
        raise BadRecord(f"{name} is no name: {text[:60]!a}")
    return text


def encode(denial: Denial, skipped: int) -> bytes:
    """For a worker. `skipped`: how many of the same process came before it and were not sent."""
    packet = json.dumps({**asdict(denial), "skipped": skipped}).encode()
    if len(packet) <= PACKET_BYTES:
        return packet
    return json.dumps({**asdict(denial), "fields": {}, "comm": "", "skipped": skipped}).encode()


def decode(packet: bytes) -> tuple[Denial, int]:
    """What encode() made. BadRecord."""
    try:
        found: dict[str, Any] = json.loads(packet)
        skipped = int(found.pop("skipped"))
        denial = Denial(**{**found, "permissions": tuple(found["permissions"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadRecord(f"no packet of the denial listener: {packet[:60]!a}") from None
    return denial, skipped
