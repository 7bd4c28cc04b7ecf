"""The denial listener, bin/selcgi-avc: from the kernel's audit to the workers, one way.

Decides who is told what, and that nobody can make it wait: a peer that does not read loses records, and is told how
many. It takes no order from a peer and reads no file but the policy's answers; its listening socket is handed over by
who starts it (sd_listen_fds(3)), so it opens, makes and connects to nothing. Must not explain a refusal.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

from selcgi.errors import BadRecord, SelcgiError, StartRefused
from selcgi.listener.concern import Concern
from selcgi.listener.link import LOST, Link
from selcgi.listener.portion import Portion
from selcgi.system.audit import ENFORCING, HELLO, POLICY_LOAD, Denial, encode, parse
from selcgi.system.audit import LOST as UNTOLD

PEER_TYPE = "selcgi_t"  # the policy lets nobody else connect; this says so once more
_FIRST_FD = 3  # SD_LISTEN_FDS_START
_PEERS = 256  # workers of all selcgis here; more are turned away
_SO_PEERSEC = 31  # asm-generic/socket.h
_CONTEXT_BYTES = 1024  # the most that Python's getsockopt takes
_SILENT_SECONDS = 60.0  # between two complaints
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_AT_ONCE = 256  # records between two looks at the peers


class Peer:
    """A connected worker. `context` is its own."""

    def __init__(self, sock: socket.socket, context: str) -> None:
        self.socket = sock
        self.context = context
        self._lost = 0

    def tell(self, denial: Denial, skipped: int) -> bool:
        """False when it is gone. What does not fit into its socket's buffer is counted, and told before the next."""
        try:
            if self._lost:
                self.socket.send(b"%s%d" % (UNTOLD, self._lost), _FLAGS)
                self._lost = 0
            self.socket.send(encode(denial, skipped), _FLAGS)
        except BlockingIOError:
            self._lost += skipped + 1
        except OSError:
            return False
        return True


class Listener:
    """Owns the peers' sockets. One thread, one poll, no queue but the kernel's."""

    def __init__(self, link: Link, door: socket.socket, concern: Concern) -> None:
        self._link = link
        self._door = door
        self._concern = concern
        self._portion = Portion()
        self._peers: dict[int, Peer] = {}
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._poll.register(door, select.POLLIN)
        self._losses, self._silent_until = 0, 0.0

    def run(self) -> None:
        while True:
            self.turn()

    def turn(self, timeout_ms: int | None = None) -> None:
        """What has come by now, or the next that comes."""
        for descriptor, _ in self._poll.poll(timeout_ms):
            if descriptor == self._link.fileno():
                self._listen()
            elif descriptor == self._door.fileno():
                self._admit()
            else:
                self._dismiss(descriptor)  # it has ended; or it speaks, which nobody asked it to

    def _admit(self) -> None:
        try:
            sock, _ = self._door.accept()
        except OSError:
            return
        context = peer_context(sock)
        if context.split(":")[2:3] != [PEER_TYPE] or len(self._peers) >= _PEERS:
            sock.close()
            return
        try:
            sock.send(HELLO, _FLAGS)
        except OSError:  # it has left
            sock.close()
            return
        self._peers[sock.fileno()] = Peer(sock, context)
        self._poll.register(sock, select.POLLIN)

    def _dismiss(self, descriptor: int) -> None:
        if peer := self._peers.pop(descriptor, None):
            self._poll.unregister(descriptor)
            peer.socket.close()

    def _listen(self) -> None:
        for _ in range(_AT_ONCE):
            record = self._link.read()
            if record is None:
                return
            kind, text = record
            if kind == LOST:
                self._lament()
            if kind in (POLICY_LOAD, ENFORCING):
                self._concern.forget()
            try:
                denial = parse(kind, text)
            except BadRecord:
                continue
            if denial is not None:
                self._pass_on(denial)

    def _lament(self) -> None:
        """A flood did not fit into the kernel's buffer: nobody knows whose refusals are missing in the logs."""
        self._losses += 1
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            text = f"selcgi-avc: the kernel's audit came too fast, and records were lost: {self._losses} times by now"
            with suppress(OSError):  # its stderr may be gone
                print(text, file=sys.stderr, flush=True)

    def _pass_on(self, denial: Denial) -> None:
        told = [p for p in self._peers.values() if self._concern.is_of(p.context, denial.source, denial.target)]
        if not told:
            return
        skipped = self._portion.take(denial.pid, denial.source, time.monotonic())
        if skipped is None:
            return
        for peer in told:
            if not peer.tell(denial, skipped):
                self._dismiss(peer.socket.fileno())


def peer_context(sock: socket.socket) -> str:
    """Of who is at the other end (SO_PEERSEC, socket(7)); empty when there is none."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERSEC, _CONTEXT_BYTES).rstrip(b"\0").decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def handed_over() -> socket.socket:
    """The listening socket of sd_listen_fds(3). StartRefused when there is none of its kind."""
    fix = "start selcgi-avc by selcgi-avc.socket"
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise StartRefused("no socket was handed over, or more than one", fix)
    try:
        sock = socket.socket(fileno=_FIRST_FD)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartRefused(f"descriptor {_FIRST_FD} is no socket: {error.strerror}", fix) from error
    if not listens or (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        raise StartRefused(f"descriptor {_FIRST_FD} is no UNIX socket that listens for packets", fix)
    sock.setblocking(False)
    return sock


def main() -> None:
    """The entry point. Exit 3: it could not do its work."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if len(sys.argv) > 1:
            raise StartRefused("selcgi-avc takes no options", "start it by selcgi-avc.socket")
        Listener(Link(), handed_over(), Concern()).run()
    except SelcgiError as error:
        print(f"selcgi-avc: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
