"""The listener's loop between a kernel that is played and peers on real sockets: it waits for nobody."""

import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.listener import main
from selcgi.listener.concern import Concern
from selcgi.listener.link import LOST, Link
from selcgi.system.audit import AVC, HELLO, POLICY_LOAD
from selcgi.system.audit import LOST as UNTOLD
from tests.system.test_audit import READ

PEER = "system_u:system_r:selcgi_t:s0"
TOLD = "system_u:system_r:user_webapp_t:s0:c1"


class PlayedLink(Link):
    """Readable whenever a record was put into it."""

    def __init__(self) -> None:
        self._socket, self._other = socket.socketpair()
        self._records: deque[tuple[int, str]] = deque()

    def put(self, *records: tuple[int, str]) -> None:
        self._records.extend(records)
        self._other.send(b"x")

    def read(self) -> tuple[int, str] | None:
        if self._records:
            return self._records.popleft()
        self._socket.recv(100)
        return None

    def close(self) -> None:
        super().close()
        self._other.close()


class Site:
    """A listener, its link, and the door that peers come through."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "avc.sock"
        self.link = PlayedLink()
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(self.path))
        self.door.listen(8)
        self.concern = Concern(folder)
        self.listener = main.Listener(self.link, self.door, self.concern)

    def peer(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(5)
        sock.connect(str(self.path))
        self.listener.turn(5000)
        return sock

    def greeted(self) -> socket.socket:
        sock = self.peer()
        assert sock.recv(4096) == HELLO
        return sock

    def say(self, *records: tuple[int, str]) -> None:
        self.link.put(*records)
        while self.link._records:
            self.listener.turn(5000)


def is_quiet(peer: socket.socket) -> bool:
    """Nothing more was told."""
    peer.setblocking(False)
    try:
        peer.recv(4096)
    except BlockingIOError:
        return True
    return False


def packets(peer: socket.socket) -> Iterator[bytes]:
    """All that were told by now."""
    peer.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            yield peer.recv(4096)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(main, "peer_context", lambda _: PEER)
    made = Site(tmp_path)
    made.concern._known[PEER, TOLD] = True
    yield made
    made.link.close()
    for sock in (made.door, *(peer.socket for peer in made.listener._peers.values())):
        sock.close()


def test_a_peer_is_told_what_concerns_it(site: Site) -> None:
    with site.greeted() as peer:
        site.say((AVC, READ.replace("user_webapp_t", "sshd_t")), (AVC, "garbage"), (AVC, READ))
        assert json.loads(peer.recv(4096))["source"] == TOLD
        assert is_quiet(peer)


def test_a_peer_that_does_not_read_holds_up_nobody_and_learns_what_it_lost(site: Site) -> None:
    with site.greeted() as slow, site.greeted() as quick:
        for pid in range(3000):
            site.listener._portion._contexts._counts.clear()
            site.say((AVC, READ.replace("pid=812", f"pid={pid}")))
            assert json.loads(quick.recv(4096))["pid"] == pid
        got = list(packets(slow))
        site.say((AVC, READ))
        got += packets(slow)
        told = [json.loads(packet) for packet in got if not packet.startswith(UNTOLD)]
        lost = sum(int(packet[len(UNTOLD) :]) for packet in got if packet.startswith(UNTOLD))
        assert lost > 0
        assert len(told) + lost == 3001
        assert {one["skipped"] for one in told} == {0}, "what was lost is of other processes"


def test_what_the_kernel_could_not_keep_is_said_once_in_a_while(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.greeted() as peer:
        site.say((LOST, ""), (LOST, ""), (AVC, READ))
        assert json.loads(peer.recv(4096))["source"] == TOLD
        assert capsys.readouterr().err.count("records were lost") == 1
        site.listener._silent_until = 0.0
        site.say((LOST, ""))
        assert capsys.readouterr().err.endswith("records were lost: 3 times by now\n")


def test_a_peer_that_left_or_speaks_is_dismissed(site: Site) -> None:
    site.peer().close()
    site.listener.turn(5000)
    assert not site.listener._peers
    with site.greeted() as peer:
        peer.send(b"give me all")
        site.listener.turn(5000)
        with pytest.raises(ConnectionResetError):
            peer.recv(10)
    assert not site.listener._peers


@pytest.mark.parametrize("context", ["", "system_u:system_r:user_webapp_t:s0", "selcgi_t", "a:selcgi_t:b:s0"])
def test_only_selcgi_is_served(site: Site, monkeypatch: pytest.MonkeyPatch, context: str) -> None:
    monkeypatch.setattr(main, "peer_context", lambda _: context)
    with site.peer() as peer:
        assert peer.recv(10) == b""


def test_peers_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_PEERS", 1)
    with site.peer(), site.peer() as second:
        assert second.recv(10) == b""


def test_another_policy_is_asked_anew(site: Site) -> None:
    """Here there is none to ask, so nothing is certain, and nothing is told."""
    with site.greeted() as peer:
        site.say((POLICY_LOAD, ""), (AVC, READ))
        assert is_quiet(peer)


def test_without_its_socket_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    with pytest.raises(StartRefused, match="no socket was handed over"):
        main.handed_over()
