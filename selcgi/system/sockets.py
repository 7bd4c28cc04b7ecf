"""Listening sockets: what a --listen means, and how it is opened or adopted.

Decides that no socket is ever wider than its mode, that only a dead socket is removed, and that what was handed over
is a socket that listens. Which peer may use it, and who its users are, is identity.py's to say; check_peer comes from
there. Must not accept, read or write. Called by cli/ (parse_listener), serve/supervisor.py (open_listener,
close_listener) and serve/worker.py (check_peer, once for each connection).
"""

import difflib
import errno
import fcntl
import grp
import ipaddress
import os
import pwd
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from selcgi.context import is_name
from selcgi.errors import StartRefused
from selcgi.policy.ports import REQUESTS, OwnPort
from selcgi.settings import ListenerSettings
from selcgi.system.identity import address_of, check_peer, validate_listener
from selcgi.system.lockfile import locked
from selcgi.system.mapfile import check_folders, own_owners

__all__ = ["check_peer", "close_listener", "open_listener", "parse_listener", "tcp_address"]

_BACKLOG = 1024  # connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
_PATH_BYTES = 107  # sun_path less its NUL: unix(7)
_FIRST_FD = 3  # SD_LISTEN_FDS_START: sd_listen_fds(3)
_MOST_FDS = 64
_NO_ID = (1 << 32) - 1  # (uid_t) -1: chown(2)
_TCP = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_ADDRESSES = "unix:PATH, tcp:HOST:PORT, fd:N or systemd"
_FIXES = {
    errno.EADDRINUSE: "is selcgi already running?",
    errno.EPERM: "selcgi's user may not give it to owner=: put it into that group, or let systemd make the socket",
}
_PEER = {"identity", "peer-type", "map-param"}
_REPEATABLE = {"peer_uids", "peer_types", "peer_nets", "map_params"}
_OPTIONS_OF = {
    "unix": _PEER | {"peer-uid", "mode", "owner"},
    "tcp": _PEER | {"peer-net"},
    "fd": _PEER | {"peer-uid", "peer-net"},
    "systemd": _PEER | {"peer-uid", "peer-net"},
}


class _BoundSocket(socket.socket):
    """A unix socket that remembers which file it made: only that one is removed at the end."""

    file = (0, 0)  # st_dev, st_ino


def parse_listener(text: str) -> ListenerSettings:
    """ADDRESS[,OPTION=VALUE]... as --listen takes it. ValueError is one sentence: what is wrong and what to write."""
    address, *words = text.split(",")
    kind = _kind_of(address)
    fields: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _READ:
            raise ValueError(f"{name!r} is no option of --listen{_meant(name, _READ)}")
        if name not in _OPTIONS_OF[kind]:
            raise ValueError(f"{name} means nothing for a {kind} address: leave it out")
        for field, item in _READ[name](value).items():
            if field in fields and field not in _REPEATABLE:
                raise ValueError(f"{name} stands there twice: write it once")
            fields[field] = (*fields.get(field, ()), *item) if field in _REPEATABLE else item
    return ListenerSettings(address, **fields)


def _kind_of(address: str) -> str:
    kind, colon, rest = address.partition(":")
    if kind == "unix" and (not rest.startswith("/") or len(os.fsencode(rest)) > _PATH_BYTES or "\0" in rest):
        raise ValueError(f"{rest!r} is no path of a socket: write an absolute one of at most {_PATH_BYTES} bytes")
    if kind == "tcp":
        tcp_address(rest)
    if kind == "fd" and not re.fullmatch(r"[0-9]{1,6}", rest):
        raise ValueError(f"{rest!r} is no descriptor: write fd:3 or the like")
    if kind not in _OPTIONS_OF or (kind == "systemd" and colon):
        hint = f": did you mean unix:{address}?" if address.startswith("/") else _meant(kind, _OPTIONS_OF)
        raise ValueError(f"{address!r} is no address ({_ADDRESSES}){hint}")
    return kind


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f": did you mean {near[0]}?" if near else f": write {', '.join(sorted(known))}"


def tcp_address(text: str) -> tuple[str, int]:
    """HOST:PORT, without looking anything up. ValueError in a sentence."""
    found = _TCP.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT: write 127.0.0.1:9000 or [::1]:9000")
    host = "127.0.0.1" if found["host"] == "localhost" else found["host"] or found["six"]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is no IP address: names are not looked up, write 127.0.0.1 or the like") from None
    return host, int(found["port"])


def _identity(value: str) -> dict[str, Any]:
    mode, _, file = value.partition(":")
    if mode == "proof" and file.startswith("/"):
        return {"identity": mode, "proof_file": Path(file)}
    known = ("none", "proof:/FILE", "auth-type", "remote-user")
    if mode == "proof" or value not in known:
        raise ValueError(f"{value!r} is no identity{_meant(value, known)}")
    return {"identity": value}


def _type(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"{value!r} is no SELinux type: write httpd_t or the like")
    return value


def _net(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"peer-net: {error}: write 192.0.2.0/24 or the like") from None


def _mode(value: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError(f"{value!r} is no mode: write 0660 or the like")
    return int(value, 8)


def _id(text: str, what: str) -> int:
    """The number of a "user" or a "group", given by name or number."""
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else _NO_ID
    with suppress(KeyError):
        number = pwd.getpwnam(text).pw_uid if what == "user" else grp.getgrnam(text).gr_gid
    if number >= _NO_ID:
        raise ValueError(f"there is no {what} {text!r} here: write a name or a number")
    return number


def _owner(value: str) -> tuple[int, int]:
    """uid and gid of USER:GROUP."""
    user, _, group = value.partition(":")
    return _id(user, "user"), _id(group, "group")


_READ: dict[str, Callable[[str], dict[str, Any]]] = {
    "identity": _identity,
    "peer-uid": lambda value: {"peer_uids": (_id(value, "user"),)},
    "peer-type": lambda value: {"peer_types": (_type(value),)},
    "peer-net": lambda value: {"peer_nets": (_net(value),)},
    "map-param": lambda value: {"map_params": (value,)},
    "mode": lambda value: {"mode": _mode(value)},
    "owner": lambda value: {"owner": "{}:{}".format(*_owner(value))},
}


def open_listener(settings: ListenerSettings, port: OwnPort = REQUESTS) -> list[socket.socket]:
    """Open or adopt the sockets of one --listen: listening, non-blocking, close-on-exec. StartRefused otherwise.

    `port` is what the policy has for it by TCP. Call before any thread runs: the umask changes for a moment.
    close_listener ends each of them.
    """
    rest = settings.address.partition(":")[2]
    try:
        return _OPEN[_kind_of(settings.address)](settings, rest)
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "choose another address")
        if error.errno == errno.EACCES and settings.address.startswith("tcp:"):
            fix = port.cure(tcp_address(rest)[1])
        raise StartRefused(f"{settings.address} can't be opened: {error.strerror}", fix) from None
    except ValueError as error:
        raise StartRefused(f"{settings.address}: {error}") from None


def _open_tcp(settings: ListenerSettings, rest: str) -> list[socket.socket]:
    host, port = tcp_address(rest)
    address = ipaddress.ip_address(host)
    validate_listener(settings, tcp=True, loopback=address.is_loopback)
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    with _closed_on_failure(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        return [_listening(sock)]


def _open_unix(settings: ListenerSettings, rest: str) -> list[socket.socket]:
    validate_listener(settings, tcp=False, loopback=False)
    path, owner = Path(rest), _owner(settings.owner) if settings.owner else (-1, -1)
    check_folders(path, own_owners())
    sock = _BoundSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _closed_on_failure(sock), locked(path):  # or one could remove what another has just made
        _remove_dead(path)
        before = os.umask(0o177)
        try:
            sock.bind(rest)
        finally:
            os.umask(before)
        status = path.lstat()
        sock.file = status.st_dev, status.st_ino
        # Nobody can connect before listen(2), and until then its mode is 0600.
        os.chown(path, *owner, follow_symlinks=False)
        path.chmod(settings.mode)
        return [_listening(sock)]


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens on; StartRefused when somebody does, or when it is no socket at all."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} is there and no socket", "remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(str(path))
    if answer != errno.ECONNREFUSED:
        raise StartRefused(f"{path} is in use (connect: {os.strerror(answer)})", "stop who listens there first")
    path.unlink()


def _adopt(settings: ListenerSettings, rest: str) -> list[socket.socket]:
    """The inherited descriptor, moved. Its old number, 0 for one, becomes /dev/null: it is nobody's stdin by chance."""
    old = int(rest)
    # Above all numbers that anybody hands over, or it could be taken for one of them.
    number = fcntl.fcntl(old, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD + _MOST_FDS)
    try:
        sock = socket.socket(fileno=number)
    except OSError:
        os.close(number)
        raise
    with _closed_on_failure(sock):
        stream = sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise StartRefused(f"descriptor {old} is no listening stream socket", "hand over one that listens")
        tcp = sock.family != socket.AF_UNIX
        validate_listener(settings, tcp, tcp and address_of(sock.getsockname()).is_loopback)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, old, inheritable=old <= 2)
        os.close(null)
        return [_listening(sock)]


def _adopt_all(settings: ListenerSettings, _: str) -> list[socket.socket]:
    """What systemd hands over, once: sd_listen_fds(3)."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or not 0 < int(count) <= _MOST_FDS:
        raise StartRefused(
            "systemd handed over no socket", "start selcgi by its .socket unit, or use --listen unix:PATH"
        )
    with ExitStack() as failed:
        found = []
        for number in range(_FIRST_FD, _FIRST_FD + int(count)):
            found += _adopt(settings, str(number))
            failed.callback(found[-1].close)
        failed.pop_all()
    return found


_OPEN = {"unix": _open_unix, "tcp": _open_tcp, "fd": _adopt, "systemd": _adopt_all}


@contextmanager
def _closed_on_failure(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        close_listener(sock)
        raise


def _listening(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    sock.listen(_BACKLOG)
    return sock


def close_listener(sock: socket.socket) -> None:
    """Close it, and remove its file if open_listener made that very file. Not for a forked worker's copy."""
    with suppress(OSError):
        if isinstance(sock, _BoundSocket):
            path = Path(sock.getsockname())
            status = path.lstat()
            if (status.st_dev, status.st_ino) == sock.file:
                path.unlink()
    sock.close()
