"""Who is asking? First the peer that connects, then the user that a request names.

Decides which peers may talk at all, by uid, SELinux type and address, and between a proven user, nobody, and a
refusal. A name in REMOTE_USER without the proof that its listener demands is never taken for anonymous: several web
servers forward names that nobody has checked. A condition on the peer is no proof of a user. Must not log, show or
export the secret. check_peer is called for each connection, prove and prove_told for each request; load_secret and
validate_listener at start.
"""

import hmac
import ipaddress
import socket
import struct
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from selcgi.context import Context
from selcgi.errors import IdentityNotProven, SelcgiError, StartRefused
from selcgi.settings import ListenerSettings
from selcgi.system.mapfile import read_protected

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SECRET_BYTES = range(16, 1025)
_SECRET_FORBIDDEN = 0o026  # a group (the web server's) may read it, nobody else may
_FILE_BYTES = 4096
_SHOWN = 64  # characters of a name that nobody has checked
_SEND = (
    'where, and only where, the web server has checked the password: nginx `fastcgi_param SELCGI_PROOF "...";`, '
    "Apache `ProxyFCGISetEnvIf \"reqenv('REMOTE_USER') != ''\" SELCGI_PROOF \"...\"`"
)
_FIXES = {
    "none": f"add identity=proof:FILE to this --listen and send SELCGI_PROOF {_SEND}; or stop sending REMOTE_USER",
    "proof": f"send the text of the proof file as SELCGI_PROOF {_SEND}",
    "auth-type": "have the web server send AUTH_TYPE with the name (nginx does not): identity=proof:FILE is safer",
    "remote-user": "on TCP only identity=proof:FILE counts: add it to this --listen",
}
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)


class PeerLabels(Protocol):
    """The one thing that check_peer asks of Labels. None: the peer has no label, or SELinux is off."""

    def peer_context(self, sock: socket.socket, /) -> Context | None: ...


def load_secret(path: Path) -> bytes:
    """The proof in the file, 16 to 1024 bytes without the blanks around it. StartRefused if others could know it."""
    secret = read_protected(path, _FILE_BYTES, _SECRET_FORBIDDEN).strip()
    if len(secret) not in SECRET_BYTES:
        raise StartRefused(
            f"the proof in {path} has {len(secret)} bytes, not {SECRET_BYTES[0]} to {SECRET_BYTES[-1]}",
            f"openssl rand -hex 32 > {path}",
        )
    return secret


def prove(  # noqa: PLR0913 - what a request and its listener say, side by side
    listener: ListenerSettings, secret: bytes | None, user: str | None, auth_type: str, proof: bytes, tcp: bool
) -> str | None:
    """The proven user, or None for nobody (RFC 3875 section 4.1.11). IdentityNotProven for a name without its proof.

    `secret` is what load_secret gave for this listener; `user`, `auth_type` and `proof` are the request's REMOTE_USER,
    AUTH_TYPE and SELCGI_PROOF, empty or None when not sent. A wrong proof is refused even without a name.
    """
    right = bool(secret) and bool(proof) and hmac.compare_digest(secret or b"", proof)
    if listener.identity == "proof" and proof and not right:
        name = f" (REMOTE_USER {user[:_SHOWN]!a})" if user else ""
        raise IdentityNotProven(f"SELCGI_PROOF is not the proof of this listener{name}", _FIXES["proof"])
    if not user:
        return None
    if _believes(listener, auth_type, right, tcp):
        return user
    raise IdentityNotProven(
        f"REMOTE_USER {user[:_SHOWN]!a} came without the proof that identity={listener.identity} asks for",
        _FIXES[listener.identity],
    )


def prove_told(told: tuple[tuple[str, str], ...], user: str | None) -> None:
    """IdentityNotProven when a param chooses a context (`told`) for a request whose user prove() did not prove."""
    if told and user is None:
        raise IdentityNotProven(
            f"{told[0][0]}, which chooses the context, came without a user",
            "send it only where the web server has checked the password, with REMOTE_USER and what proves it",
        )


def _believes(listener: ListenerSettings, auth_type: str, right: bool, tcp: bool) -> bool:
    if listener.identity == "proof":
        return right
    if tcp:
        return False
    return listener.identity == "remote-user" or (listener.identity == "auth-type" and bool(auth_type))


def validate_listener(listener: ListenerSettings, tcp: bool, loopback: bool) -> None:
    """StartRefused for settings that can't prove anything where the listener is (`loopback`: a TCP address)."""
    if listener.identity == "proof" and listener.proof_file is None:
        raise StartRefused(f"{listener.address} has identity=proof without a file", "write identity=proof:FILE")
    if listener.map_params and listener.identity not in ("proof", "auth-type"):
        raise StartRefused(
            f"{listener.address}: with identity={listener.identity} anybody could choose a context by map-param",
            "add identity=proof:FILE",
        )
    if not tcp:
        return
    if listener.identity not in ("none", "proof"):
        raise StartRefused(
            f"{listener.address}: identity={listener.identity} proves nothing on TCP, where anybody may connect",
            "write identity=proof:FILE, or listen on unix:PATH",
        )
    if listener.peer_uids:
        raise StartRefused(f"{listener.address}: peer-uid is unknown on TCP", "listen on unix:PATH, or use peer-net")
    if not loopback and not (listener.peer_nets and listener.identity == "proof"):
        raise StartRefused(
            f"{listener.address} can be reached from other machines, without peer-net or without a proof",
            "add peer-net=CIDR and identity=proof:FILE, or listen on 127.0.0.1 or unix:PATH",
        )


def check_peer(sock: socket.socket, listener: ListenerSettings, labels: PeerLabels) -> str:
    """Why the peer of an accepted connection is not let in, in words; "" when it is. Never raises for a lost peer."""
    try:
        return _place_objection(sock, listener) or _type_objection(sock, listener, labels)
    except (OSError, SelcgiError, ValueError) as error:
        return f"who the peer is can't be found out: {error}"


def _place_objection(sock: socket.socket, listener: ListenerSettings) -> str:
    if sock.family != socket.AF_UNIX:
        address = address_of(sock.getpeername())
        nets = listener.peer_nets or _LOOPBACK
        return "" if any(address in net for net in _networks(nets)) else f"{address} is in none of {', '.join(nets)}"
    if not listener.peer_uids:
        return ""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return "" if uid in listener.peer_uids else f"its uid {uid} is not one that peer-uid names"


def _type_objection(sock: socket.socket, listener: ListenerSettings, labels: PeerLabels) -> str:
    if not listener.peer_types:
        return ""
    context = labels.peer_context(sock)
    if context is not None and context.domain in listener.peer_types:
        return ""
    return f"its SELinux type {context.domain if context else '(none)'} is not one that peer-type names"


def address_of(name: tuple[str, int]) -> Address:
    """The IP address in what getsockname(2) or getpeername(2) gave; IPv4 in IPv6 clothes counts as IPv4."""
    address = ipaddress.ip_address(name[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=64)
def _networks(nets: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, nets))
