"""A server on a loopback port of this machine, as a child in the foreground: started, waited for, ended by its pid.

Decides nothing of what it serves. Used by tests/servers.py and tests/directories.py.
"""

import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.stack import wait_until


class Foreground:
    """A context manager. `folder` takes its configuration and data, and its output."""

    ends_by = signal.SIGTERM

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        folder.mkdir()
        folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def line(self) -> list[str]:
        """Write the configuration; the words of the command."""
        raise NotImplementedError

    def how(self) -> dict[str, Any]:
        """What Popen is told beside that."""
        return {"cwd": "/"}

    def started(self) -> None:
        """What can be done only while it runs."""

    def __enter__(self) -> Self:
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(self.line(), stdout=output, stderr=output, **self.how())
        try:
            wait_until(f"{self.folder.name} on port {self.port}", self._listens)
            self.started()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(self.ends_by)
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process is not None
        said = self.folder / "output"
        assert self._process.poll() is None, f"{self.folder.name} did not start:\n{said.read_text()}"
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0
