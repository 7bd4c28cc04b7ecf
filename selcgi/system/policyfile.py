"""The policy in a file, for a machine without SELinux and for what only a file can say: why something is denied.

Decides what the answers of system/policyreader.py mean: a reason in words, and what would help. A constraint is never
answered with an allow rule, which could not help. The file is read once, into memory that only the reader has; it is
checked first, and whatever becomes of the reader, the caller gets PolicyUnreadable. Must not decide what is a finding.
Called by diagnose/ and cli/.
"""

import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selcgi.errors import PolicyUnreadable
from selcgi.system.facts import KernelFacts
from selcgi.system.policy import Vector
from selcgi.system.reader import Reader, start
from selcgi.system.reason import Reason, reason

KERNEL = Path("/sys/fs/selinux/policy")  # what is loaded now
_PROGRAM = Path(__file__).with_name("policyreader.py")
_MAGIC = struct.pack("<II", 0xF97CFF8C, 8) + b"SE Linux"  # libsepol's policydb.h; a module's first word is another
_FILE_BYTES = 64 << 20  # the whole policy of Debian or Fedora has 2 to 9 MB
_VECTORS = 100_000  # remembered


@dataclass(frozen=True, slots=True)
class Access:
    """What one context may do to another in one class."""

    classname: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """A step from one domain into another, through a file of a type of `entries`, or without one (setcon)."""

    source: str
    target: str
    entries: tuple[str, ...]
    rules: tuple[str, ...]


@contextmanager
def open_policy_file(path: Path) -> Iterator["PolicyFile"]:
    """The policy in `path`. PolicyUnreadable when it is none, is damaged, too new, or no Python here can read it."""
    with in_memory(path) as memory, start(path, _PROGRAM, [f"/proc/self/fd/{memory}"], [memory]) as reader:
        yield PolicyFile(reader)


@contextmanager
def in_memory(path: Path) -> Iterator[int]:
    """The policy in a copy that nobody changes meanwhile, checked. PolicyUnreadable.

    /sys/fs/selinux/policy can't be open twice (selinuxfs.c, EBUSY).
    """
    data = _read(path)
    memory = os.memfd_create("policy")
    try:
        os.write(memory, data)
        yield memory
    finally:
        os.close(memory)


def _read(path: Path) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # not waiting for a pipe
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PolicyUnreadable(f"{path} is no file", "name a binary policy: /etc/selinux/*/policy/policy.*")
            data = file.read(_FILE_BYTES + 1)
    except OSError as error:
        fix = f"as root, by {sys.executable} -m selcgi ..; the program's own domain may not read it"
        raise PolicyUnreadable(f"cannot read {path}: {error.strerror}", fix if path == KERNEL else "") from error
    _check(path, data)
    return data


def _check(path: Path, data: bytes) -> None:
    if len(data) > _FILE_BYTES:
        raise PolicyUnreadable(f"{path} has more than {_FILE_BYTES >> 20} MB", "no policy is that long")
    if not data.startswith(_MAGIC):
        raise PolicyUnreadable(f"{path} is no binary policy of SELinux", "name /etc/selinux/*/policy/policy.*")


class PolicyFile:
    """A policy by its reader, one process. Made by open_policy_file(); answers as system/policy.py's Policy does."""

    def __init__(self, reader: Reader) -> None:
        self._ask = reader.ask
        self._hello = reader.hello
        self._vectors: dict[tuple[str, str, str], Vector] = {}

    def vector(self, source: str, target: str, classname: str) -> Vector:
        key = source, target, classname
        if key not in self._vectors:
            if len(self._vectors) >= _VECTORS:
                self._vectors.clear()
            found = self._ask("vector", *key)
            allowed, silent = (frozenset(found.get(name, ())) for name in ("allowed", "silent"))
            permissive, known = found.get("permissive", False), found.get("known", True)
            self._vectors[key] = Vector(*key, allowed, silent, permissive, known)
        return self._vectors[key]

    def canonical(self, context: str) -> str | None:
        found = self._ask("canonical", context)
        return None if found is None else str(found)

    def created(self, source: str, target: str, classname: str) -> str:
        return str(self._ask("created", source, target, classname))

    def facts(self) -> KernelFacts:
        """What a kernel would say that has loaded it."""
        nnp_nosuid = "nnp_nosuid_transition" in self._hello["capabilities"]
        return KernelFacts(deny_unknown=self._hello["unknown"] == "deny", nnp_nosuid=nnp_nosuid)

    def serial(self) -> int:
        return 0

    def why(self, source: str, target: str, classname: str, permissions: Iterable[str]) -> Reason | None:
        """Why not all of `permissions` are granted, and what would grant them; None when they are."""
        denied = sorted(set(permissions) - self.vector(source, target, classname).allowed)
        if not denied:
            return None
        code, more = self._ask("why", source, target, classname, denied)
        return reason(Vector(source, target, classname), tuple(denied), code, more)

    def between(self, source: str, target: str) -> tuple[Access, ...]:
        """All that one valid context may do to another, in every class, constraints included."""
        found = self._ask("between", source, target)
        return tuple(Access(name, tuple(allowed)) for name, allowed in found.items())

    def rules(self, source: str, target: str, classname: str, permissions: Iterable[str]) -> tuple[str, ...]:
        """Up to four allow rules that grant type `source` any of `permissions`, as setools prints them."""
        return tuple(self._ask("rules", source, target, classname, sorted(permissions)))

    def types(self, attribute: str) -> tuple[str, ...]:
        """The types of an attribute; none when the policy has no such attribute."""
        return tuple(self._ask("types", attribute))

    def named(self, prefix: str) -> tuple[str, ...]:
        """The types whose names begin so."""
        return tuple(self._ask("named", prefix))

    def reached(self, source: str, classname: str, permissions: Iterable[str]) -> tuple[str, ...]:
        """The types on which rules grant a type any of `permissions`, whatever constraints say."""
        return tuple(self._ask("reached", source, classname, sorted(permissions)))

    def paths(self, sources: Iterable[str], targets: Iterable[str]) -> tuple[tuple[Transition, ...], ...]:
        """By setools' analysis, a shortest path of transitions from each source domain to each target that it reaches.

        By types alone: a constraint may stand in the way of a path that is found.
        """
        found = self._ask("paths", sorted(sources), sorted(targets))
        return tuple(tuple(_transition(step) for step in path) for path in found)


def _transition(step: dict[str, Any]) -> Transition:
    return Transition(step["source"], step["target"], tuple(step["entries"]), tuple(step["rules"]))
