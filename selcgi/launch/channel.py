"""The channel of one warm request: what the zygote's child reports to the worker, and the job that it gets for it.

Decides what is a report, who has made it, and how much is read of what comes: code that the zygote has loaded can write
there, too, and for ever. Must not decide what a report means. Used by launch/warm.py alone.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import NamedTuple

from selcgi.errors import LaunchFailed
from selcgi.launch.steps import failed
from selcgi.zygote.frames import Job, decode_report, encode_job

_REPORT_BYTES = 32768
_AT_ONCE = 8  # pieces of reports, of which there are no more than two: the worker has others to hear
_MUCH = 65536  # bytes of a job: up to here any buffer will do
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_CREDENTIALS_SPACE = socket.CMSG_SPACE(_CREDENTIALS.size)  # and no room for descriptors: the kernel closes those
_NO_REPORT = "the warm interpreter's child has reported what is no report, or a second time"


class Report(NamedTuple):
    """`sender` is a pid by the kernel's word (SO_PASSCRED of unix(7)), so that nobody names another's; or 0."""

    name: str
    texts: tuple[str, ...]
    sender: int


class Channel:
    """The worker's end, and `theirs` until it is handed on."""

    def __init__(self) -> None:
        """OSError."""
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._heard = b""
        self.over = False  # its end was read
        self._untaken = False

    def fileno(self) -> int:
        return self._ours.fileno()

    def read(self) -> Iterator[Report]:
        """What is there by now. LaunchFailed when it can't be a child's that keeps to what it is to do."""
        for _ in range(_AT_ONCE):
            try:
                data, parts, _, _ = self._ours.recvmsg(_REPORT_BYTES, _CREDENTIALS_SPACE)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it did not read the whole job
                data, self._untaken = b"", True
            if not data:
                self.over = True
                return
            *lines, self._heard = (self._heard + data).split(b"\n")
            if len(self._heard) > _REPORT_BYTES:
                raise LaunchFailed("zygote", "the warm interpreter's child reports without end")
            for line in lines:
                yield _to_report(line, _sender(parts))

    def send(self, job: Job) -> None:
        """All of it at once: the socket's buffer is larger than what a web server may send as params. LaunchFailed."""
        try:
            data = encode_job(job)
            if len(data) > _MUCH:
                self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + _MUCH)
            if self._ours.send(data, socket.MSG_NOSIGNAL) == len(data):
                return
        except (BlockingIOError, ValueError):
            pass
        except ConnectionError:  # why comes next, or its end
            self._untaken = True
            return
        except OSError as error:
            raise failed("zygote", error) from error
        raise LaunchFailed("zygote", "the params are too long for a warm interpreter", "raise net.core.wmem_max")

    def untaken(self) -> bool:
        """The job was not read, or not to its end: there may be somebody who could still read it, and will not. What
        waits in a socket is counted by TIOCOUTQ; once nobody can, it is none, and the error that was left is asked for
        (unix_ioctl and unix_release_sock of net/unix/af_unix.c)."""
        if self._untaken or any(ioctl(self._ours, TIOCOUTQ, bytes(4))):
            return True
        return self._ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    def hang_up(self) -> None:
        """The child reads the end of it, and so do we: unlike a closed one, it wakes."""
        with suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()


def no_report() -> LaunchFailed:
    return LaunchFailed("zygote", _NO_REPORT)


def _to_report(line: bytes, sender: int) -> Report:
    try:
        name, *texts = map(str, decode_report(line))
    except (ValueError, RecursionError):
        raise no_report() from None
    return Report(name, tuple(texts), sender)


def _sender(parts: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in parts:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) == _CREDENTIALS.size:
            return int(_CREDENTIALS.unpack(data)[0])
    return 0
