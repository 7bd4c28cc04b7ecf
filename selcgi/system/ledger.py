"""The lines of the registry of categories: what was given to whom, taken back, and put on which folder.

Decides the form of a line, so that one that broke off, or that somebody has edited, is never taken for another; and
what all lines so far say. A number once taken back is given out again only by a line that names it. Must not open
files. Used by registry.py.

    selcgi-categories 1 c512.c1023 5a0b1c2d
    ["assigned", 0, "2026-01-31T10:00:00Z", "alice"] 0d9c4f21
"""

import json
import re
import zlib
from dataclasses import astuple, dataclass
from typing import Literal, get_args

from selcgi.context import Band
from selcgi.errors import RegistryFailed

MAGIC = b"selcgi-categories 1 "
_ENDED = re.compile(rb"\] [0-9a-f]{8}$")
Kind = Literal["assigned", "released", "folder"]


@dataclass(frozen=True, slots=True)
class Record:
    """`when` is UTC; `folder` is empty but for a folder that got the user's categories."""

    kind: Kind
    number: int
    when: str
    name: str
    folder: str = ""


class Broken(ValueError):
    """A line that was not written so."""


def head_line(band: Band) -> bytes:
    return _sealed(MAGIC + str(band).encode())


def line_of(record: Record) -> bytes:
    values = [value for value in astuple(record) if value != ""]
    return _sealed(json.dumps(values).encode())


def _sealed(body: bytes) -> bytes:
    return b"%s %08x\n" % (body, zlib.crc32(body))


def _unsealed(line: bytes) -> bytes:
    body, _, checksum = line.rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        raise Broken("its checksum is wrong")
    return body


def band_of(line: bytes) -> Band:
    """Of the head, without its line end. Broken when it is none."""
    body = _unsealed(line)
    if not body.startswith(MAGIC):
        raise Broken("it is no registry of selcgi")
    return Band.parse(body.removeprefix(MAGIC).decode("ascii", "replace"))


def record_of(line: bytes) -> Record:
    """`line` without its end. Broken unless line_of() has made it."""
    body = _unsealed(line)
    try:
        record = Record(*json.loads(body))
        good = line_of(record) == line + b"\n" and record.kind in get_args(Kind)
    except (ValueError, TypeError):
        good = False
    if not good:
        raise Broken("it is no record")
    return record


def seems_whole(line: bytes) -> bool:
    """Whether it has all but its end: no crash leaves what is that long and wrong."""
    return _ENDED.search(line) is not None


class Ledger:
    """What the records say, one after the other."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}  # of each user
        self.released: set[int] = set()
        self.folders: dict[str, str] = {}  # the user of each
        self.next = 0

    def add(self, record: Record) -> None:
        """Broken when it contradicts those before it."""
        if record.kind == "assigned":
            self._assigned(record)
            return
        if self.numbers.get(record.name) != record.number:
            raise Broken("it is about a number that this user does not have")
        if record.kind == "released":
            self._released(record)
        else:
            self.folders[record.folder] = record.name

    def _assigned(self, record: Record) -> None:
        if record.name in self.numbers or record.number not in (self.next, *self.released):
            raise Broken("it gives what is given already")
        self.numbers[record.name] = record.number
        self.released.discard(record.number)
        self.next = max(self.next, record.number + 1)

    def _released(self, record: Record) -> None:
        del self.numbers[record.name]
        self.released.add(record.number)
        self.folders = {folder: name for folder, name in self.folders.items() if name != record.name}


def check_name(name: str, most: int) -> None:
    """RegistryFailed for a name that no line can hold."""
    if not name or len(name.encode("utf-8", "surrogateescape")) > most or not name.isprintable():
        reason = f"a name of 1 to {most} bytes, all printable, can have categories; {name[:80]!a} is none"
        raise RegistryFailed(reason, "see the user's name")
