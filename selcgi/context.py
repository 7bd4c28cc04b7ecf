"""SELinux contexts and MLS ranges as values: parse, print, combine.

Decides only what is well formed (user:role:type:range, section "SECURITY CONTEXTS" of the SELinux notebook); what
is valid or reachable is the kernel's answer, asked in system/selinux.py. Must not import libselinux.
Called by mapping/ (what a rule asks for), system/ (what the kernel said) and launch/ (what a process gets).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from selcgi.values import valueclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CATEGORIES = r"c\d{1,5}(?:\.c\d{1,5})?(?:,c\d{1,5}(?:\.c\d{1,5})?)*"
_LEVEL = rf"s\d{{1,5}}(?::{_CATEGORIES})?"
_RANGE = re.compile(rf"{_LEVEL}(?:-{_LEVEL})?")
_WEBAPP, _ZYGOTE = "webapp_t", "zygote_t"
LONGEST = 4096  # characters of a context; the kernel refuses more than a page (selinuxfs.c, SIMPLE_TRANSACTION_LIMIT)


def is_name(text: str) -> bool:
    """True for what may stand as a user, role or type."""
    return _NAME.fullmatch(text) is not None


def is_range(text: str) -> bool:
    """True for `s0`, `s0:c1,c3.c5`, `s0-s0:c0.c1023` and the like."""
    return _RANGE.fullmatch(text) is not None


_BAND = re.compile(r"c(\d{1,5})\.c(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Band:
    """The categories from `first` to `last`."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Band":
        """`c512.c1023`; ValueError unless it grows."""
        found = _BAND.fullmatch(text)
        if found is None or int(found[1]) >= int(found[2]):
            raise ValueError(f"{text!r} is no band of categories, c512.c1023")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, item: str) -> "Band":
        """What stands between two commas of a level: `c3`, a band of itself, or `c3.c5`."""
        first, _, last = item.partition(".")
        return cls(int(first[1:]), int((last or first)[1:]))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"c{self.first}.c{self.last}"

    def covers(self, other: "Band") -> bool:
        return self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "Band") -> bool:
        return self.first <= other.last and other.first <= self.last


def categories(level: str) -> Iterator[Band]:
    """Those of a level like `s0:c1,c3.c5`."""
    return map(Band.of, filter(None, level.partition(":")[2].split(",")))


@valueclass(frozen=True, slots=True)
class Context:
    """A whole context as the kernel prints it; `range` is empty on a policy without MLS."""

    user: str
    role: str
    domain: str
    range: str = ""

    @classmethod
    def parse(cls, text: str) -> "Context":
        """`text` without its trailing NUL; ValueError says which part is wrong."""
        if len(text) > LONGEST:
            raise ValueError(f"context longer than {LONGEST} characters")
        parts = text.split(":", 3)
        if len(parts) < 3:
            raise ValueError(f"{text!r} is no context (user:role:type[:range])")
        for part, what in zip(parts, ("user", "role", "type"), strict=False):
            if not is_name(part):
                raise ValueError(f"{part!r} is no SELinux {what}")
        if len(parts) == 4 and not is_range(parts[3]):
            raise ValueError(f"{parts[3]!r} is no range (s0, s0:c1,c3.c5, s0-s0:c0.c1023)")
        return cls(*parts)

    def zygote(self, own: "Context") -> "Context":
        """Of the warm interpreter whose children enter this context: at `own`'s range, selcgi's, in the domain that
        belongs to this one by its name, shop.zygote_t to shop.webapp_t. ValueError when the name has no such ending."""
        if not self.domain.endswith(_WEBAPP):
            raise ValueError(f"the domain {self.domain} has no zygote beside it: its name ends in no {_WEBAPP}")
        return Context(self.user, self.role, self.domain.removesuffix(_WEBAPP) + _ZYGOTE, own.range)

    @property
    def is_zygote(self) -> bool:
        """Whether the name of the domain is that of a warm interpreter's."""
        return self.domain.endswith(_ZYGOTE)

    def __str__(self) -> str:
        return f"{self.user}:{self.role}:{self.domain}" + (f":{self.range}" if self.range else "")


LAUNCHER = Context("system_u", "system_r", "selcgi_t", "s0")  # selcgi's own, where no kernel says which it is


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """What a mapping rule asks for; None means: as selcgi's own."""

    domain: str
    range: str | None = None
    user: str | None = None
    role: str | None = None

    def resolve(self, own: Context) -> Context:
        """The whole context, with the parts that the rule leaves open taken from `own`."""
        return Context(
            self.user or own.user,
            self.role or own.role,
            self.domain,
            own.range if self.range is None else self.range,
        )

    def without_kernel(self) -> Context:
        """The same for a machine without SELinux, where there is no own context: for the log only."""
        return _without_kernel(self)

    def whole(self, own: Context | None) -> Context:
        """As the log shows it, before the kernel has been asked."""
        return self.without_kernel() if own is None else self.resolve(own)

    def __str__(self) -> str:
        tail = f"{self.domain}:{self.range or '*'}"
        return f"{self.user}:{self.role}:{tail}" if self.user else tail


@lru_cache(maxsize=1024)
def _without_kernel(spec: ContextSpec) -> Context:
    return spec.resolve(LAUNCHER)
