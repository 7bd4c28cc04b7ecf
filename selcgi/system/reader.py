"""A conversation with a program that reads what only the distribution's Python can: a line a question, and an answer.

Decides which Python runs it, and that whatever becomes of it, by a damaged file or a bug, the caller gets
PolicyUnreadable: an end, a silence and an answer without end are named errors. Must not know what is asked.
Used by system/policyfile.py and system/filecontexts.py.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from selcgi.errors import PolicyUnreadable

PYTHONS = ("/usr/bin/python3", sys.executable)  # the distribution's own has the distribution's packages
_PACKAGES = "python3-setools and python3-selinux (Debian, Ubuntu) or python3-setools and python3-libselinux (Fedora)"
_DAMAGED = "is the file damaged (build it again: semodule -B), or of a newer distribution than this one?"
_ANSWER_BYTES = 64 << 20
_ANSWER_SECONDS = 120.0
_WORDS_BYTES = 1 << 16  # of what it says on stderr


class Reader:
    """A running program, and `path`, the file that it reads. Made by start()."""

    def __init__(self, path: Path, words: Sequence[str], pass_fds: Sequence[int], said: IO[bytes]) -> None:
        self.hello: dict[str, Any] = {}  # what it says first
        self._path = path
        self._said = said
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, pass_fds=pass_fds, cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def ask(self, name: str, *words: Any) -> Any:
        """The answer. PolicyUnreadable when none comes."""
        try:
            stream = _open(self._process.stdin)
            stream.write(json.dumps([name, words]).encode() + b"\n")
            stream.flush()
        except OSError as error:
            raise self._ended() from error
        return self.receive()

    def receive(self) -> Any:
        """One answer; the first comes without a question."""
        stream, data, deadline = _open(self._process.stdout).fileno(), b"", time.monotonic() + _ANSWER_SECONDS
        while not data.endswith(b"\n"):
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise PolicyUnreadable(f"{self._path}: no answer within {_ANSWER_SECONDS:g} s", _DAMAGED)
            chunk = os.read(stream, 1 << 16)
            if not chunk:
                raise self._ended()
            data += chunk
            if len(data) > _ANSWER_BYTES:
                raise PolicyUnreadable(f"{self._path}: an answer of more than {_ANSWER_BYTES >> 20} MB", _DAMAGED)
        return json.loads(data)

    def last_words(self) -> str:
        """What it, or libsepol or libselinux in it, said last."""
        self._said.seek(0)
        lines = self._said.read(_WORDS_BYTES).decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")[:300]

    def close(self) -> None:
        """It ends with its questions; one that does not is killed."""
        with suppress(OSError):
            _open(self._process.stdin).close()
        self._process.kill()
        self._process.wait()
        _open(self._process.stdout).close()

    def _ended(self) -> PolicyUnreadable:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        said = self.last_words() or "without a word"
        return PolicyUnreadable(f"{self._path} cannot be read: its reader ended by {how}: {said}", _DAMAGED)


@contextmanager
def start(path: Path, program: Path, words: Sequence[str], pass_fds: Sequence[int] = ()) -> Iterator[Reader]:
    """`program`, once it has read `path`. PolicyUnreadable when it can't, or no Python has the packages for it."""
    missing = []
    for python in dict.fromkeys(filter(os.path.exists, PYTHONS)):
        with tempfile.TemporaryFile() as said:
            reader = Reader(path, [python, "-I", str(program), *words], pass_fds, said)
            try:
                first = reader.receive()
                if "missing" not in first:
                    _check(path, reader, first)
                    reader.hello = first["hello"]
                    yield reader
                    return
                missing.append(f"{python}: {first['missing']}")
            finally:
                reader.close()
    raise PolicyUnreadable(f"no Python can read {path} ({'; '.join(missing)})", f"install {_PACKAGES}")


def _check(path: Path, reader: Reader, first: dict[str, Any]) -> None:
    if "unreadable" in first:
        said = reader.last_words()
        newer = "does not match my version range" in said
        fix = "ask where that is newer, or build the policy with an older policy-version= (semanage.conf(5))"
        what = "it is newer than the libsepol of this machine: " if newer else ""
        raise PolicyUnreadable(
            f"{path} cannot be read: {what}{said or first['unreadable']}", fix if newer else _DAMAGED
        )


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "made with a pipe"
    return stream
