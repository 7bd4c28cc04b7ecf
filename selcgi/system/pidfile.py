"""The file that tells a service manager which process is the supervisor.

Decides nothing; it is removed at the end. Called by serve/supervisor.py.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selcgi.errors import StartRefused


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """There is such a file inside. StartRefused when it can't be written."""
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        reason = f"cannot write {path}: {error.strerror}"
        raise StartRefused(reason, "set --pid-file to a place that selcgi may write") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
