"""The ways in which bytes may arrive. A reader must make the same of each. Used by the targets that read a stream."""

import random
from collections.abc import Iterator

_FEW = 200


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Byte by byte, unless they are many, and cut at places that depend on them alone: a finding can be repeated."""
    if len(data) <= _FEW:
        yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(data)
    for longest in (8, 100):
        yield list(_cut(data, chance, longest))


def _cut(data: bytes, chance: random.Random, longest: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.randint(1, longest)
        yield data[at : at + size]
        at += size
