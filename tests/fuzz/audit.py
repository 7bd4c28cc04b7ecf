"""Invariant: any text as a record gives a refusal, nothing, or a BadRecord.

Of a refusal both contexts stand in the text once, outside of every quoted string; nothing in it is unprintable; and it
arrives at a worker as it was sent. Input: the text of a record, taken for both kinds.
"""

import re

from selcgi.errors import BadRecord
from selcgi.system.audit import AVC, PACKET_BYTES, SELINUX_ERR, Denial, decode, encode, parse

_QUOTED = re.compile(r'"[^"]*"')


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for kind in (AVC, SELINUX_ERR):
        try:
            denial = parse(kind, text)
        except BadRecord as error:
            assert str(error).isprintable(), error
            continue
        if denial is not None:
            _check(denial, _QUOTED.sub("", text))


def _check(denial: Denial, outside: str) -> None:
    for name in ("scontext", "tcontext", "oldcontext", "newcontext"):
        found = re.findall(rf"(?<![a-z_]){name}=", outside)
        assert len(found) <= 1, f"{name} stands there {len(found)} times"
    for context in (denial.source, denial.target):
        assert f"={context}" in outside, f"{context} is in no field"
    texts = (denial.comm, denial.source, denial.target, denial.classname, *denial.fields.values())
    assert all(map(str.isprintable, texts)), texts
    packet = encode(denial, 3)
    assert len(packet) <= PACKET_BYTES
    again, skipped = decode(packet)
    assert (again.source, again.target, skipped) == (denial.source, denial.target, 3)
