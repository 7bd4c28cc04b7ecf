"""The request body on its way to the script: taken off the web server at once, kept in memory, then on disk.

Decides where the bytes wait and whether they are too many. The web server is never made to wait for the script:
nginx drops the rest of an upload at the first response head, and Caddy sends all before it reads. The file has no
name (O_TMPFILE), so nothing is left behind whatever happens. Must not know descriptors of the script or records.
Filled by serve/session.py, emptied by serve/feeder.py.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from selcgi.errors import BadRequest, BodyTooLarge, Overloaded, SelcgiError
from selcgi.serve.splicing import PIECE, WIDE
from selcgi.settings import ONE_USER, Settings

_BULK = 32 << 10  # bytes that come at once of a body whose rest may go past: less is as cheap to read and to write


class Sink(Protocol):
    """Where a body goes, as long as nothing of it is kept."""

    def take(self, pieces: Sequence[bytes]) -> int:
        """How many bytes it takes from the beginning."""

    def pipe(self) -> int:
        """The descriptor that takes more of it, non-blocking. -1 when that is over."""

    def passed(self, size: int) -> None:
        """So much has gone there."""


@dataclass(slots=True)
class SpoolSpace:
    """What the body files of one worker may hold together, in bytes, and one user's of it. None: not known yet."""

    limit: int
    used: int = 0
    of: Counter[str | None] = field(default_factory=Counter)

    def take(self, size: int, user: str | None) -> None:
        """Overloaded when the space is used up, or the user's part of it."""
        if self.used + size > self.limit:
            raise _full("the spool holds", self.used, self.limit)
        self._check(size, user)
        self.used += size
        self.of[user] += size

    def assign(self, size: int, user: str) -> None:
        """That much, taken for nobody known, is the user's. Overloaded when it is too much for one."""
        self._check(size, user)
        self.of[None] -= size
        self.of[user] += size

    def give_back(self, size: int, user: str | None) -> None:
        self.used -= size
        self.of[user] -= size
        if not self.of[user]:
            del self.of[user]

    def _check(self, size: int, user: str | None) -> None:
        most = int(ONE_USER * self.limit)
        if user is not None and self.of[user] + size > most:
            raise _full("bodies of this user hold", self.of[user], most)


def _full(who: str, used: int, limit: int) -> Overloaded:
    fix = "raise --spool-total, or lower --max-body"
    return Overloaded(f"{who} {used} bytes on disk, {limit} are allowed", fix, limit="spool")


class _Nobody:
    def take(self, pieces: Sequence[bytes]) -> int:  # noqa: ARG002
        return 0

    def pipe(self) -> int:
        return -1

    def passed(self, size: int) -> None: ...


_NOBODY = _Nobody()


def _nothing() -> None:
    return None


class Body:
    """Bytes in by feed() and end(), out by peek() and consume(). Never longer than `limit` or the declared length.

    `roomy`: its script keeps up, so as much of it may be kept in memory as its wide pipe holds.
    """

    # Most requests have no body, and set few of these.
    expected: int | None = None  # CONTENT_LENGTH, once the params are read
    received = 0
    ended = False  # the web server has said so
    error: SelcgiError | None = None
    unwanted = False  # nobody will read it: count, and throw away
    sink: Sink = _NOBODY
    roomy = False
    taken = 0  # bytes of what was kept
    on_taken: Callable[[], None] = staticmethod(_nothing)  # all that was kept, or nobody will
    _user: str | None = None
    _file = -1
    _read_at = _write_at = 0  # in the file

    def __init__(self, settings: Settings, space: SpoolSpace, limit: int) -> None:
        self.limit = limit
        self._settings = settings
        self._space = space
        self._memory = bytearray()

    @property
    def arrived(self) -> bool:
        """All of it is here: it has ended, or the declared length is in."""
        return self.ended or (self.expected is not None and self.received >= self.expected)

    @property
    def kept(self) -> bool:
        """Some of it waits to be taken."""
        return bool(self._memory) or self._read_at < self._write_at

    @property
    def complete(self) -> bool:
        """It has arrived and all of it was taken."""
        return self.arrived and not self.kept

    def expect(self, length: int | None, limit: int, user: str) -> None:
        """What the params say. BodyTooLarge, BadRequest, Overloaded when that, or what is here already, can't be."""
        if self.unwanted:  # a followed redirect: the body was its first script's
            return
        self.expected, self.limit = length, limit
        if self.error is not None:
            raise self.error
        if self._user is None:
            if self._write_at:
                self._space.assign(self._write_at, user)
            self._user = user
        if max(length or 0, self.received) > limit:
            raise BodyTooLarge(f"a body of {max(length or 0, self.received)} bytes, {limit} are allowed", _RAISE_LIMIT)
        self._check_length()
        self._check_end()

    def feed(self, *pieces: bytes) -> bool:
        """More of it: whether the script takes much at once. An excess is kept in `error`, for the request to find."""
        size = sum(map(len, pieces))
        self.received += size
        if self.unwanted:
            return False
        try:
            self._check_length()
            taken = 0 if self.kept else self.sink.take(pieces)
            if taken < size and not self.unwanted:
                self._keep_rest(pieces, taken)
        except SelcgiError as error:
            self.error = error
            self.discard()
            return False
        return taken >= _BULK

    def way(self) -> tuple[int, int]:
        """Where more of it may go, unread, and how much; passed() must be told. (-1, 0) when it must be fed."""
        pipe = -1 if self.kept else self.sink.pipe()
        room = self.limit if self.expected is None else min(self.limit, self.expected)
        return pipe, room - self.received if pipe >= 0 else 0

    def passed(self, size: int) -> None:
        self.received += size
        self.sink.passed(size)

    def end(self) -> None:
        """No more will come; less than was declared is an error, never a complete body."""
        self.ended = True
        try:
            self._check_end()
        except BadRequest as error:
            self.error = error

    def peek(self) -> memoryview:
        """The next bytes without taking them; empty when there are none yet. Must be released before they are taken."""
        if self._memory:
            return memoryview(self._memory)[:PIECE]
        if self._read_at < self._write_at:
            return memoryview(os.pread(self._file, PIECE, self._read_at))
        return memoryview(b"")

    def consume(self, size: int) -> None:
        """Take `size` of the bytes that peek() has shown."""
        self.taken += size
        if self._memory:
            del self._memory[:size]
        else:
            self._read_at += size
            if self._read_at == self._write_at:
                self._rewind()
        if not self.kept:
            self.on_taken()

    def discard(self) -> None:
        """Nobody wants the rest: what is kept is dropped, what comes is counted only."""
        if not self.unwanted:
            self.unwanted, self.sink = True, _NOBODY
            self._memory = bytearray()  # not cleared: the piece that the script did not take is still shown
            self._rewind()
            self.on_taken()

    def close(self) -> None:
        self.discard()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _check_length(self) -> None:
        if self.received > self.limit:
            raise BodyTooLarge(f"the body is longer than the {self.limit} bytes that are allowed", _RAISE_LIMIT)
        if self.expected is not None and self.received > self.expected:
            raise BadRequest(f"the body is longer than its CONTENT_LENGTH of {self.expected} bytes")

    def _check_end(self) -> None:
        if self.ended and not self.unwanted and self.expected is not None and self.received < self.expected:
            raise BadRequest(f"the body ended after {self.received} of {self.expected} bytes")

    def _keep_rest(self, pieces: Sequence[bytes], taken: int) -> None:
        for piece in pieces:
            if taken < len(piece):
                self._keep(memoryview(piece)[taken:])
            taken = max(0, taken - len(piece))

    def _keep(self, data: memoryview) -> None:
        room = WIDE if self.roomy else self._settings.body_memory_bytes
        if self._write_at == 0 and len(self._memory) + len(data) <= room:
            self._memory += data
            return
        self._space.take(len(data), self._user)
        self._spool(data)

    def _spool(self, left: memoryview) -> None:
        try:
            if self._file < 0:
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                self._file = os.open(self._settings.spool, flags, 0o600)
            while left:
                written = os.pwrite(self._file, left, self._write_at)
                self._write_at += written
                left = left[written:]
        except OSError as error:
            self._space.give_back(len(left), self._user)
            raise Overloaded(
                f"cannot spool a body in {self._settings.spool}: {error.strerror}", "free space there, or set --spool"
            ) from error

    def _rewind(self) -> None:
        if self._write_at:
            self._space.give_back(self._write_at, self._user)
            os.ftruncate(self._file, 0)
            self._read_at = self._write_at = 0


_RAISE_LIMIT = "raise --max-body, or max-body= in the rule"
