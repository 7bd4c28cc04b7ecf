"""What worker and zygote tell each other, as bytes: the setup of a zygote, a request's job, and the reports of both.

Decides the form alone, and that nothing in it is without bound. Must not open, start or set anything. Used by
zygote/ and launch/. Texts are JSON; words of argv and environment are as execve(2) takes them, with a NUL between
them, so that a job is hardly longer than what is in it, whatever bytes these are.
"""

import json
import struct
from collections.abc import Mapping
from typing import NamedTuple

# Reports of a zygote to its worker, over its control socket: a JSON list each, the name first.
READY = "ready"  # it takes requests
FAILED = "failed"  # reason, fix: it can't, and ends
RETIRING = "retiring"  # why: it serves what is on its way, and should get no more
# Reports of a child to its worker, or of a zygote that could make none, over the channel of its request: likewise, and
# each ends with a newline. The end of the file after the first says that the child is in its context; it is for the
# worker to look.
BORN = "born"  # its pid comes from the kernel
STUCK = "stuck"  # step, reason, fix: the script does not run
STARVED = "starved"  # likewise, for want of something that is used up: it may run another time

MESSAGE_BYTES = 65536
JOB_BYTES = 1 << 20  # more than the params of a request may be (settings.WireLimits)
_LONGEST_TEXT = 4000  # characters
_LENGTH = struct.Struct("!I")


class Setup(NamedTuple):
    """What a zygote is for. `interpreter` and `flags` are of the script's first line, both empty without one."""

    script: str
    interpreter: str
    flags: str
    application: str  # of plan.Warm
    preloads: tuple[str, ...]
    growth_bytes: int
    confined: bool  # children enter a context; False with --selinux off


class Job(NamedTuple):
    """One request. `context` is empty with --selinux off; `rlimits` are of launch/child.py; seconds are not in it."""

    argv: tuple[bytes, ...]
    environ: Mapping[bytes, bytes]
    context: str
    rlimits: tuple[tuple[int, tuple[int, int]], ...]
    nice: int | None


def encode_setup(setup: Setup) -> bytes:
    return json.dumps(setup).encode()


def decode_setup(data: bytes) -> Setup:
    script, interpreter, flags, application, preloads, growth, confined = json.loads(data)
    return Setup(script, interpreter, flags, application, tuple(preloads), growth, confined)


def encode_job(job: Job) -> bytes:
    """With its length before it. ValueError when it is longer than JOB_BYTES, or for a NUL."""
    head = json.dumps((len(job.argv), job.context, job.rlimits, job.nice)).encode()
    words = (head, *job.argv, *(part for pair in job.environ.items() for part in pair))
    data = b"\0".join(words)
    if len(data) > JOB_BYTES or data.count(b"\0") >= len(words):
        raise ValueError(f"{len(data)} bytes, {len(words)} words")
    return _LENGTH.pack(len(data)) + data


def length_of_job(data: bytes) -> int | None:
    """How many bytes follow the first four, None while there are fewer than four. ValueError when it is too long."""
    if len(data) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(data)
    if length > JOB_BYTES:
        raise ValueError(f"{length} bytes")
    return int(length)


def decode_job(data: bytes) -> Job:
    """Of all that encode_job() has made."""
    head, *words = data[_LENGTH.size :].split(b"\0")
    count, context, rlimits, nice = json.loads(head)
    limits = tuple((which, (soft, hard)) for which, (soft, hard) in rlimits)
    environ = dict(zip(words[count::2], words[count + 1 :: 2], strict=True))
    return Job(tuple(words[:count]), environ, context, limits, nice)


def encode_report(*message: str | int) -> bytes:
    """Texts are cut, so that it always fits."""
    cut = [part[:_LONGEST_TEXT] if isinstance(part, str) else part for part in message]
    return json.dumps(cut).encode() + b"\n"


def decode_report(line: bytes) -> list[str | int]:
    """ValueError when it is none."""
    message = json.loads(line)
    if not isinstance(message, list) or not message:
        raise ValueError("no report")
    return message
