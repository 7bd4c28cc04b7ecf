"""The kernel's refusals as they come, from its audit, or from its log where the audit may not be heard.

Decides which of the two is read: the audit's netlink socket goes first, since the log stays empty where auditd runs.
Opened before a run and asked after it. Must not judge a refusal. Used by learn/rehearsal.py.
"""

import contextlib
import os
import re
import select
import time

from selcgi.errors import BadRecord, StartRefused
from selcgi.listener.link import Link
from selcgi.system.audit import Denial, parse

_QUIET_SECONDS = 1.0  # without a record, after a run: the kernel's audit thread is behind by milliseconds
_LONGEST_SECONDS = 20.0
_MOST = 100_000  # records of one run
_IN_LOG = re.compile(r"audit: type=(\d+) (audit\(.*)", re.DOTALL)


class KernelLog:
    """/dev/kmsg, from now on, as listener.link.Link reads."""

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            reason = f"neither the kernel's audit nor its log can be read: {error.strerror}"
            raise StartRefused(reason, "run it as root, as an unconfined user") from error

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> tuple[int, str] | None:
        while True:
            try:
                line = os.read(self._descriptor, 16384).decode(errors="replace")
            except BlockingIOError:
                return None
            except BrokenPipeError:  # overwritten before it was read
                return 0, ""
            if found := _IN_LOG.search(line.partition("\n")[0]):
                return int(found[1]), found[2]

    def close(self) -> None:
        os.close(self._descriptor)


class Records:
    """`lost`: the kernel had more to say than was read."""

    def __init__(self) -> None:
        self.lost = False
        self._source: Link | KernelLog
        try:
            self._source = Link()
        except StartRefused:
            self._source = KernelLog()

    def of(self, domain: str) -> list[Denial]:
        """All refusals of the type `domain` since the last call."""
        found: list[Denial] = []
        end = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < end and select.select([self._source], [], [], _QUIET_SECONDS)[0]:
            found += self._waiting()
            if len(found) > _MOST:
                self.lost = True
                break
        return [one for one in found if one.source.split(":")[2:3] == [domain]]

    def _waiting(self) -> list[Denial]:
        found = []
        while (record := self._source.read()) is not None:
            self.lost = self.lost or not record[0]
            with contextlib.suppress(BadRecord):
                if denial := parse(*record):
                    found.append(denial)
        return found

    def close(self) -> None:
        self._source.close()
