"""One request to a web server, byte for byte as written here: a real client would put its headers in order.

Decides how a request is written, never what an answer means. An answer that does not come is a Reply with status 0.
Used by diagnose/probing.py, diagnose/front.py and diagnose/forging.py.
"""

import base64
import http.client
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from selcgi.errors import StartRefused

SECONDS = 20.0  # for each step of a request
_BODY_BYTES = 1 << 20
_PIECE = 10_000
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL names. `verified`: a certificate must be the host's."""

    scheme: str
    host: str
    port: int
    authority: str  # as the URL has it: the Host header
    path: str
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` 0: the connection ended without an answer."""

    status: int
    headers: Headers = ()
    body: bytes = b""


def parse_url(url: str, verified: bool = True) -> Target:
    """ValueError, one sentence, when it is no URL of a web server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"{url!a} is no http://HOST/PATH or https://HOST/PATH")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url!a} has characters that must be percent-encoded")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port, parts.netloc, path, verified)


def basic(user: str, password: str) -> tuple[str, str]:
    """The header (RFC 7617)."""
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def connect(target: Target) -> socket.socket:
    """StartRefused when no web server is there."""
    where = f"{target.host}:{target.port}"
    try:
        sock = socket.create_connection((target.host, target.port), SECONDS)
        if target.scheme == "https":
            sock = _context(target).wrap_socket(sock, server_hostname=target.host)
    except ssl.SSLCertVerificationError as error:
        fix = "ask by the name in the certificate, or give --insecure"
        raise StartRefused(f"{where} has no valid certificate: {error.verify_message}", fix) from error
    except PermissionError as error:
        # selcgi_t, in which bin/selcgi works, may connect nowhere; an administrator's own domain may.
        fix = "run it in your own domain: /opt/selcgi/bin/python -m selcgi check-front ..."
        raise StartRefused(f"this program may not connect to {where}: {error.strerror}", fix) from error
    except OSError as error:
        raise StartRefused(f"no web server answers at {where}: {error}", "is the URL right?") from error
    return sock


def _context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not target.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def head(target: Target, method: str, headers: Iterable[tuple[str, str]], absolute: bool = False) -> bytes:
    """The head of a request; `absolute`: with the whole URL, as to a proxy (RFC 9112 section 3.2.2)."""
    where = f"{target.scheme}://{target.authority}{target.path}" if absolute else target.path
    lines = [f"{method} {where} HTTP/1.1", f"Host: {target.authority}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(body: bytes) -> bytes:
    """A body of a length that is not told beforehand (RFC 9112 section 7.1)."""
    pieces = [body[at : at + _PIECE] for at in range(0, len(body), _PIECE)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def send(target: Target, data: bytes) -> Reply:
    """A whole request, and what came for it."""
    with connect(target) as sock:
        with suppress(OSError):  # refused before all was sent: the answer may be there
            sock.sendall(data)
        answer = http.client.HTTPResponse(sock)
        try:
            answer.begin()
            return Reply(answer.status, tuple(answer.getheaders()), answer.read(_BODY_BYTES))
        except (OSError, http.client.HTTPException):
            return Reply(0)
        finally:
            answer.close()
