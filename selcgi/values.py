"""Values: small objects whose fields never change once they are made.

Decides who holds that: the type checker alone. At run time `frozen=True` of dataclasses sets each field by a call of
its own, which triples the cost of making a value, and some are made for each request. Used in place of dataclass for
those; written the same way, and equal, hashed and shown the same.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as valueclass
else:
    from dataclasses import dataclass

    def valueclass(*, frozen, slots):
        assert frozen
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["valueclass"]
