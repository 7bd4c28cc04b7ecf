"""Who gets a probe answer: a request with the token that the control process gave out, for two minutes at most.

`selcgi check-front` wants to see what a request looks like when it has come through the web server. Asked over the
control socket, which is its owner's only, it needs no other socket, no option and no line in the web server's
configuration: what is tested is what serves. Nobody else learns the token; it shows no more than what came with its
own request. With it or without, a probe starts no script. Must not keep the token itself, nor anything of a request.
The page is made by serve/board.py, armed by serve/control.py, asked by serve/request.py for each request.
"""

import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Iterable
from enum import IntEnum

from selcgi.errors import ProbeRefused

SECONDS = 120.0
HEADER = b"HTTP_X_SELCGI_PROBE"  # its value: the token, a dot, the question


class LostClient(IntEnum):
    """What became of the client that a probe let wait and leave."""

    NONE = 0
    WAITS = 1
    REPORTED = 2


class ProbePage:
    """In memory that all processes of a selcgi share: until when it is armed, and the token's hash."""

    _ARMED = struct.Struct("<d32s")  # seconds of CLOCK_MONOTONIC
    BYTES = _ARMED.size + 1

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory

    @property
    def armed(self) -> bool:
        until, _ = self._ARMED.unpack_from(self._memory)
        return bool(time.monotonic() < until)

    @property
    def lost_client(self) -> LostClient:
        return LostClient(self._memory[self._ARMED.size])

    @lost_client.setter
    def lost_client(self, value: LostClient) -> None:
        self._memory[self._ARMED.size] = value

    def arm(self) -> str:
        """A new token. It ends an earlier one."""
        token = secrets.token_hex(32)
        self.disarm()
        self.lost_client = LostClient.NONE
        # Nothing is good between the two.
        self._ARMED.pack_into(self._memory, 0, 0.0, _hash(token.encode()))
        self._ARMED.pack_into(self._memory, 0, time.monotonic() + SECONDS, _hash(token.encode()))
        return token

    def disarm(self) -> str:
        """Nobody gets a probe answer any more."""
        self._ARMED.pack_into(self._memory, 0, 0.0, bytes(32))
        return ""

    def question(self, pairs: Iterable[tuple[bytes, bytes]]) -> str | None:
        """What a probe asks; None for any other request. ProbeRefused when its token is not good."""
        for name, value in pairs:
            if name == HEADER:
                token, _, question = value.partition(b".")
                if not self._is_right(token):
                    raise ProbeRefused("the token of this probe is not good, or no longer", "run check-front again")
                return question.decode("latin-1")
        return None

    def _is_right(self, token: bytes) -> bool:
        _, kept = self._ARMED.unpack_from(self._memory)
        return self.armed and hmac.compare_digest(kept, _hash(token))


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
