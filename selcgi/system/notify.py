"""Tell the service manager how selcgi is doing: READY=1, RELOADING=1, STOPPING=1, STATUS=... (sd_notify(3)).

Decides nothing and never raises: a service manager that does not listen is no reason to stop serving. The caller
logs what comes back. Called by serve/supervisor.py.
"""

import os
import socket

_SECONDS = 2.0  # for a manager whose queue is full


def notify(*assignments: str) -> str:
    """Send the assignments as one datagram to $NOTIFY_SOCKET. Why not, in words; "" when sent or nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return ""
    if address[0] not in "/@":
        return f"NOTIFY_SOCKET={address!r} is neither a path nor an abstract name"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SECONDS)
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.sendall("\n".join(assignments).encode())
    except (OSError, ValueError) as error:
        return f"cannot tell {address!r}: {error}"
    return ""
