"""Respell a map of mod_selinux as a mapping file, line by line, for `selcgi map import`.

Decides what each line meant there (selinux_lookup_mapfile and do_set_domain of mod_selinux.c, ap_cfg_getline of httpd)
and writes a line that means the same here, or denies where there can be none. The result is free of mistakes.
Must not read files. A line that mod_selinux skipped stays without effect, and the note says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selcgi.errors import MappingError
from selcgi.mapping.rules import mistakes, parse
from selcgi.mapping.words import ANONYMOUS, show, write_name

_WORD = re.compile(r"[^ \t\r]+")
_TRIMMED = " \t\r\v\f"  # apr_isspace, both ends of a line


@dataclass(frozen=True, slots=True)
class _Line:
    """One line as ap_cfg_getline gives it, a backslash before the line end joined with what follows."""

    number: int
    text: str
    folded: bool


def respell(text: str, file: str) -> tuple[tuple[str, str], ...]:
    """Pairs of (line of the new file, note); the note is empty where the line stayed as it was.

    Raises MappingError for a user name that no mapping file can hold: to leave its line out would hand that user to
    the next one that matches.
    """
    return tuple(_respell(line, file) for line in _unfold(text))


def _unfold(text: str) -> Iterator[_Line]:
    """A backslash joins only right before a line end; the last line of a file may lack one."""
    physical = text.split("\n")
    pending, first = "", 1
    for number, raw in enumerate(physical, 1):
        body = raw.removesuffix("\r")
        if body.endswith("\\") and number < len(physical):
            pending += body[:-1]
            continue
        yield _Line(first, pending + body, first != number)
        pending, first = "", number + 1


def _respell(line: _Line, file: str) -> tuple[str, str]:
    text = line.text.strip(_TRIMMED)
    words = _WORD.findall(text.partition("#")[0])
    if not words:
        new, note = _respell_comment(text)
    elif len(words) == 2:
        new, note = _respell_rule(words[0], words[1], text)
        if not new:
            reason = f"the user name {show(words[0])} can't be written in a mapping file"
            raise MappingError(file, line.number, reason, "take the line out, and see to it that no such user logs in")
    else:
        new = f"# {show(text)}"
        note = f"mod_selinux skipped this line, which has not 2 words but {len(words)}; it still has no effect"
    if line.folded and not note:
        note = "its lines are joined"
    return new, f"{file}:{line.number}: {note}" if note else ""


def _respell_comment(text: str) -> tuple[str, str]:
    if not mistakes(text, ""):
        return text, ""
    return f"# {show(text)}", "the comment is shortened and printable now"


def _respell_rule(name: str, value: str, text: str) -> tuple[str, str]:
    """The new line and its note; the line is empty when there can be none."""
    spelled = name if name in ("*", ANONYMOUS) else write_name(name)
    refusal = _refusal(value)
    notes = [refusal] if refusal else []
    if spelled != name:
        notes.append("the name is quoted, it was no glob or group in mod_selinux")
    rule = f"{spelled} deny  # was: {show(value)}" if refusal else f"{spelled} {value}"
    comment = "".join(text.partition("#")[1:])
    candidates = (f"{rule} {comment}".rstrip(), rule) if notes else (text, rule)
    return next((line for line in candidates if not mistakes(line, "")), ""), "; ".join(notes)


def _refusal(value: str) -> str:
    """Why `value` has no like here, or "". mod_selinux splits it at the first colon, and "*" keeps what httpd has."""
    if value.partition(":")[0] == "*":
        return "mod_selinux kept the server's own domain, which no script gets here: denied until you name a domain"
    try:
        spec = parse(f"user {value}", "")[0].spec
    except MappingError as error:
        return f"{error.reason}: denied until you correct it"
    if spec is not None and spec.user is not None:
        return "mod_selinux took all after the first colon for the range: denied until you correct it"
    return ""
