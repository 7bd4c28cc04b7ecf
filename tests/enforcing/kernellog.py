"""The kernel's denials as they happen, cut into the part that a test or a demo row has caused.

Decides where a part ends: by a denial that it provokes itself. The kernel's audit queue keeps its order, so once
that mark is in the log every record before it is too; nothing waits for a time to pass. Runs in the guest.
"""

import contextlib
import itertools
import os
from pathlib import Path

from tests.guest import audit
from tests.stack import wait_until

_MARK_TYPE = b"system_u:object_r:guest_mark_t:s0\0"


class KernelLog:
    """Reads /dev/kmsg from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._numbers = itertools.count()

    def denials(self) -> tuple[audit.Avc, ...]:
        """Every denial since the last call."""
        mark = Path(f"/run/mark-{os.getpid()}-{next(self._numbers)}")
        mark.touch()
        os.setxattr(mark, "security.selinux", _MARK_TYPE)
        with contextlib.suppress(PermissionError):
            mark.read_bytes()
        lines: list[str] = []

        def mark_is_read() -> bool:
            self._read(lines)
            return any(mark.name in line for line in lines)

        wait_until("the mark in the kernel's log", mark_is_read)
        mark.unlink()
        return audit.denials("\n".join(lines))

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, lines: list[str]) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(os.read(self._fd, 8192).decode(errors="replace"))
