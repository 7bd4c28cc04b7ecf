"""AVC records of the kernel's log as values. Pure: text in, records out. Used by machine.py, plugin.py and bin/demo.

The form is that of type 1400 in the kernel's security/selinux/avc.c; a name is quoted, or hex when it holds a blank.
"""

import re
from dataclasses import dataclass

_RECORD = re.compile(r"avc:\s+denied\s+\{ (?P<permissions>[^}]+) \} for (?P<fields>.*)")
_FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')
MARK = "guest_mark_t"


@dataclass(frozen=True, slots=True)
class Avc:
    """One denial. `source` and `target` are whole contexts, `what` the path or name that the record gives."""

    permissions: tuple[str, ...]
    source: str
    target: str
    tclass: str
    comm: str
    pid: int
    what: str
    permissive: bool
    line: str

    @property
    def source_type(self) -> str:
        return self.source.split(":")[2]

    @property
    def target_type(self) -> str:
        return self.target.split(":")[2]

    def __str__(self) -> str:
        state = " (permissive)" if self.permissive else ""
        permissions = " ".join(self.permissions)
        return f"{self.source} -> {self.target} : {self.tclass} {{ {permissions} }} {self.comm} {self.what}{state}"


def parse(line: str) -> Avc | None:
    """The denial in a line of the log, None for any other line."""
    found = _RECORD.search(line)
    if found is None:
        return None
    fields = {name: value.strip('"') for name, value in _FIELD.findall(found["fields"])}
    return Avc(
        permissions=tuple(found["permissions"].split()),
        source=fields["scontext"],
        target=fields["tcontext"],
        tclass=fields["tclass"],
        comm=fields.get("comm", ""),
        pid=int(fields.get("pid", 0)),
        what=fields.get("path") or fields.get("name") or fields.get("dest") or "",
        permissive=fields.get("permissive") == "1",
        line=line.strip(),
    )


def denials(text: str) -> tuple[Avc, ...]:
    """All denials of a log, without the marks that the tests themselves set."""
    found = (parse(line) for line in text.splitlines())
    return tuple(one for one in found if one is not None and one.target_type != MARK)
