"""The policy in a file, for a machine without SELinux and for what only a file can say: why something is denied.

Decides what the answers of system/policyreader.py mean: a reason in words, and what would help. A constraint is never
answered with an allow rule, which could not help. The file is read once, into memory that only the reader has; it is
checked first, and whatever becomes of the reader, the caller gets PolicyUnreadable. Must not decide what is a finding.
Called by diagnose/ and cli/.
"""

import json
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from selcgi.errors import PolicyUnreadable
from selcgi.system.policy import Vector
from selcgi.system.reason import Reason, reason

KERNEL = Path("/sys/fs/selinux/policy")  # what is loaded now
_READER = Path(__file__).with_name("policyreader.py")
_PYTHONS = ("/usr/bin/python3", sys.executable)  # the distribution's own has the distribution's packages
_PACKAGES = "python3-setools and python3-selinux (Debian, Ubuntu) or python3-setools and python3-libselinux (Fedora)"
_MAGIC = struct.pack("<II", 0xF97CFF8C, 8) + b"SE Linux"  # libsepol's policydb.h; a module's first word is another
_FILE_BYTES = 64 << 20  # the whole policy of Debian or Fedora has 2 to 9 MB
_ANSWER_BYTES = 64 << 20
_ANSWER_SECONDS = 120.0
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
    with _in_memory(path) as memory, tempfile.TemporaryFile() as words:
        policy = _start(path, memory, words)
        try:
            yield policy
        finally:
            policy.close()


def _start(path: Path, memory: int, words: IO[bytes]) -> "PolicyFile":
    missing = []
    for python in dict.fromkeys(filter(os.path.exists, _PYTHONS)):
        policy = PolicyFile(path, python, memory, words)
        first = policy.receive()
        if "hello" in first:
            return policy
        policy.close()
        if "missing" not in first:
            raise PolicyUnreadable(f"{path} cannot be read: {_last(words) or first['unreadable']}", _newer(words))
        missing.append(f"{python}: {first['missing']}")
    raise PolicyUnreadable(f"no Python can read a policy ({'; '.join(missing)})", f"install {_PACKAGES}")


@contextmanager
def _in_memory(path: Path) -> Iterator[int]:
    """A copy that nobody changes meanwhile; /sys/fs/selinux/policy can't be open twice (selinuxfs.c, EBUSY)."""
    memory = os.memfd_create("policy")
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PolicyUnreadable(f"{path} is no file", "name a binary policy: /etc/selinux/*/policy/policy.*")
            data = file.read(_FILE_BYTES + 1)
        _check(path, data)
        os.write(memory, data)
        yield memory
    except OSError as error:
        fix = "ask as root, where the policy lets you read it (security read_policy)" if path == KERNEL else ""
        raise PolicyUnreadable(f"cannot read {path}: {error.strerror}", fix) from error
    finally:
        os.close(memory)


def _check(path: Path, data: bytes) -> None:
    if len(data) > _FILE_BYTES:
        raise PolicyUnreadable(f"{path} has more than {_FILE_BYTES >> 20} MB", "no policy is that long")
    if not data.startswith(_MAGIC):
        raise PolicyUnreadable(f"{path} is no binary policy of SELinux", "name /etc/selinux/*/policy/policy.*")


class PolicyFile:
    """A policy by its reader, one process. Made by open_policy_file(); answers as system/policy.py's Policy does."""

    def __init__(self, path: Path, python: str, memory: int, words: IO[bytes]) -> None:
        self._path = path
        self._words = words
        self._vectors: dict[tuple[str, str, str], Vector] = {}
        line = [python, "-I", str(_READER), f"/proc/self/fd/{memory}"]
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, pass_fds=[memory], cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def close(self) -> None:
        """The reader ends with its questions; one that does not is killed."""
        with suppress(OSError):
            self._stream(self._process.stdin).close()
        self._process.kill()
        self._process.wait()
        self._stream(self._process.stdout).close()

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

    def _ask(self, name: str, *words: Any) -> Any:
        try:
            stream = self._stream(self._process.stdin)
            stream.write(json.dumps([name, words]).encode() + b"\n")
            stream.flush()
        except OSError as error:
            raise self._ended() from error
        return self.receive()

    def receive(self) -> Any:
        """One answer."""
        stream, data, deadline = self._stream(self._process.stdout).fileno(), b"", time.monotonic() + _ANSWER_SECONDS
        while not data.endswith(b"\n"):
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise PolicyUnreadable(f"{self._path}: no answer within {_ANSWER_SECONDS:g} s", "is it damaged?")
            chunk = os.read(stream, 1 << 16)
            if not chunk:
                raise self._ended()
            data += chunk
            if len(data) > _ANSWER_BYTES:
                raise PolicyUnreadable(f"{self._path}: an answer of more than {_ANSWER_BYTES >> 20} MB", "")
        return json.loads(data)

    def _ended(self) -> PolicyUnreadable:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        what = f"its reader ended by {how}: {_last(self._words) or 'without a word'}"
        return PolicyUnreadable(
            f"{self._path} cannot be read: {what}", "is the file damaged? Build it again: semodule -B"
        )

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None, "made with a pipe"
        return stream


def _transition(step: dict[str, Any]) -> Transition:
    return Transition(step["source"], step["target"], tuple(step["entries"]), tuple(step["rules"]))


def _last(words: IO[bytes]) -> str:
    """What libsepol said last."""
    words.seek(0)
    lines = words.read(1 << 16).decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")[:300]


def _newer(words: IO[bytes]) -> str:
    if "does not match my version range" in _last(words):
        return (
            "it is newer than the libsepol of this machine: ask where that is newer, or build the policy with an older "
            "policy-version= (semanage.conf(5))"
        )
    return "is the file damaged? Build it again: semodule -B"
