"""Labels by file contexts in a file, for a machine without SELinux: every file has the label that its path should have.

Decides which path that is: beneath `prefix` lies a tree as it will be installed, and what is not there is judged by its
name, as a regular file. Must not look at the labels of this machine. Called by cli/ for the doctor.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selcgi.errors import PolicyUnreadable
from selcgi.system.reader import Reader, start

_PROGRAM = Path(__file__).with_name("labelreader.py")
_FILE_BYTES = 64 << 20
_FIX = "name the file contexts of the policy: /etc/selinux/*/contexts/files/file_contexts"


@contextmanager
def open_file_contexts(path: Path, prefix: str = "") -> Iterator["FileContexts"]:
    """PolicyUnreadable when `path` has no file contexts. `prefix` has no slash at its end, nor links in it."""
    try:
        status = path.stat()
    except OSError as error:
        raise PolicyUnreadable(f"cannot read {path}: {error.strerror}", _FIX) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_BYTES:
        raise PolicyUnreadable(f"{path} is no file of at most {_FILE_BYTES >> 20} MB", _FIX)
    with start(path, _PROGRAM, [str(path.absolute())]) as reader:
        yield FileContexts(reader, prefix)


class FileContexts:
    """A Labelling (system/labelling.py), by a reader."""

    def __init__(self, reader: Reader, prefix: str) -> None:
        self._reader = reader
        self._prefix = prefix
        self._labels: dict[tuple[str, int], str] = {}

    def label(self, path: str) -> str:
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - a str all the way
        except OSError:
            mode = stat.S_IFREG
        return self.expected(path, mode)

    def expected(self, path: str, mode: int) -> str:
        key = self._installed(path), stat.S_IFMT(mode)
        if key not in self._labels:
            self._labels[key] = str(self._reader.ask("label", *key))
        return self._labels[key]

    def _installed(self, path: str) -> str:
        """Where it will be. A folder above the prefix stands for the root."""
        real = os.path.realpath(path)
        if not self._prefix:
            return real
        if f"{self._prefix}/".startswith(f"{real.rstrip('/')}/"):
            return "/"
        return real.removeprefix(self._prefix) if real.startswith(f"{self._prefix}/") else real


class NoContexts:
    """A Labelling that knows nothing, where no file contexts were given."""

    def label(self, path: str) -> str:  # noqa: ARG002
        return ""

    def expected(self, path: str, mode: int) -> str:  # noqa: ARG002
        return ""
