"""FastCGI records and pairs read a second time, straight from the specification, to compare with selcgi's readers.

Also moves whole records about as a mutator: one changed length leaves nothing of what follows it. Used by
connection.py and __main__.py.
"""

import random
import struct
from collections.abc import Callable, Iterator

_HEADER = struct.Struct(">BBHHBx")
_CONTENT = 2000
_KINDS = (1, 2, 3, 4, 4, 5, 5, 6, 8, 9, 12)
Pairs = tuple[tuple[bytes, bytes], ...]
Mutate = Callable[[bytes, int], bytes]


class NotFastCGI(Exception):
    """A version that is not 1."""


def framed(data: bytes) -> Iterator[bytes]:
    """Each whole record with its header and padding. NotFastCGI as soon as a whole header says another version."""
    at = 0
    while at + 8 <= len(data):
        if data[at] != 1:
            raise NotFastCGI
        end = at + 8 + 256 * data[at + 4] + data[at + 5] + data[at + 6]
        if end > len(data):
            return
        yield data[at:end]
        at = end


def opened(record: bytes) -> tuple[int, int, bytes]:
    """Type, request id, content."""
    _, kind, number, length, _ = _HEADER.unpack_from(record)
    return kind, number, record[8 : 8 + length]


def pairs_of(data: bytes) -> Pairs | None:
    """Name-value pairs; None when one is cut off."""
    pairs = []
    at = 0
    while at < len(data):
        sizes = []
        for _ in range(2):
            width = 4 if data[at : at + 1] >= b"\x80" else 1
            sizes.append(int.from_bytes(data[at : at + width], "big") & 0x7FFFFFFF)
            at += width
        pairs.append((data[at : at + sizes[0]], data[at + sizes[0] : at + sum(sizes)]))
        at += sum(sizes)
    return tuple(pairs) if at == len(data) else None


def mutate(data: bytes, longest: int, seed: int, mutate_bytes: Mutate) -> bytes:
    """Other bytes, one time in four; else one record dropped, doubled, moved, renumbered, or with other content."""
    chance = random.Random(seed)
    try:
        records = list(framed(data))
    except NotFastCGI:
        records = []
    if not records or chance.random() < 0.25:
        return mutate_bytes(data, longest)
    at = chance.randrange(len(records))
    kind, number, content = opened(records[at])
    match chance.randrange(7):
        case 0:
            del records[at]
        case 1:
            records.insert(chance.randrange(len(records)), records[at])
        case 2:
            records.insert(chance.randrange(len(records)), records.pop(at))
        case 3:
            records[at] = _record(chance.choice(_KINDS), chance.randrange(3), content, b"")
        case 4:
            records[at] = _record(kind, number, b"", b"")
        case _:
            pairs = pairs_of(content) if chance.random() < 0.5 else None
            new = _mutate_pairs(pairs, chance) if pairs else mutate_bytes(content, _CONTENT)
            records[at] = _record(kind, number, new, bytes(chance.randrange(256)))
    return b"".join(records)[:longest]


def _mutate_pairs(pairs: Pairs, chance: random.Random) -> bytes:
    """A value grows; lengths have one byte or four, as FastCGI 1.0 section 3.4 lets each sender choose."""
    at = chance.randrange(len(pairs))
    content = b""
    for index, (name, value) in enumerate(pairs):
        text = value * chance.randrange(20) if index == at else value
        wide = chance.random() < 0.1
        content += _length(name, wide) + _length(text, wide) + name + text
    return content[:_CONTENT]


def _length(text: bytes, wide: bool) -> bytes:
    return struct.pack(">I", len(text) | 1 << 31) if wide or len(text) > 127 else bytes((len(text),))


def _record(kind: int, number: int, content: bytes, padding: bytes) -> bytes:
    return _HEADER.pack(1, kind, number, len(content), len(padding)) + content + padding
