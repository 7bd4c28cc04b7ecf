"""The kernel's audit as it is multicast over netlink, beside an auditd or without one (audit_multicast_bind, audit.c).

Decides that only the kernel's own datagrams count: their sender's port is 0, which the kernel gives to nobody else
(netlink(7)). Needs CAP_AUDIT_READ and nothing more. Must not look into a record. Used by listener/main.py.
"""

import errno
import os
import socket
import struct

from selcgi.errors import StartRefused

LOST = 0  # type of no record: some did not fit into the buffer
_PROTOCOL = 9  # NETLINK_AUDIT: linux/netlink.h
_READLOG = 1  # AUDIT_NLGRP_READLOG: the bit of group 1 (linux/audit.h)
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr; its length is not used: it was seen not to count the header
_DATAGRAM_BYTES = 16384  # MAX_AUDIT_MESSAGE_LENGTH is 8970
_BUFFER_BYTES = 1 << 20  # of the kernel for us; it may give less (net.core.rmem_max)


class Link:
    """A socket that is readable when the kernel has said something."""

    def __init__(self) -> None:
        """StartRefused when this process may not listen."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _PROTOCOL)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind((0, _READLOG))
        except OSError as error:
            fix = "give it CAP_AUDIT_READ, start it by its unit, and see whether it runs in selcgi_avc_t (ps -eZ)"
            raise StartRefused(f"the kernel's audit can't be listened to: {error.strerror}", fix) from error
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> tuple[int, str] | None:
        """Type and text of the next record of the kernel; None when there is none now. LOST: some were lost."""
        while True:
            try:
                data, (sender, _) = self._socket.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # what did not fit was thrown away: netlink(7)
                    raise StartRefused(f"the kernel's audit ended: {os.strerror(error.errno or 0)}") from error
                return LOST, ""
            if sender == 0 and len(data) >= _HEADER.size:
                return _HEADER.unpack_from(data)[1], data[_HEADER.size :].decode("utf-8", "replace")

    def close(self) -> None:
        self._socket.close()
