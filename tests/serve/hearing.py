"""A worker's Denials with the listener's end of its socket in a test's hands. Used by tests/serve."""

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from selcgi.context import Context
from selcgi.errors import ZygoteFailed
from selcgi.launch.cold import Launcher
from selcgi.launch.running import Running
from selcgi.plan import Plan
from selcgi.serve.accesslog import Entry
from selcgi.serve.denialpage import DenialPage
from selcgi.serve.denials import Denials
from selcgi.serve.poller import Poller
from selcgi.system.audit import HELLO, Denial, encode
from tests.fakes import FakeLabels, FakePolicy

ALICE = "system_u:system_r:user_webapp_t:s0:c1"
ZYGOTE = "system_u:system_r:user_zygote_t:s0"
TARGET = "system_u:object_r:user_webapp_rw_t:s0:c2"
GONE = 4_000_000  # above pid_max: no such process


class PlayedLabels(FakeLabels):
    """Who listens is what the test says."""

    def __init__(self, listener: str = "selcgi_avc_t") -> None:
        super().__init__()
        self.policy = FakePolicy(
            {
                ("user_webapp_t", "user_webapp_rw_t", "file"): ("read",),
                ("user_zygote_t", "user_webapp_rw_t", "file"): (),
            }
        )
        self._listener = Context("system_u", "system_r", listener, "s0")

    def peer_context(self, sock: socket.socket) -> Context | None:  # noqa: ARG002
        return self._listener


class PlayedRun:
    """What a case asks of a script that runs; it is its own launcher."""

    def __init__(self, pid: int, zygote: int = 0, until: float = 0.0) -> None:
        self.pid = self.root = pid
        self.cgroup = ""
        self._zygote, self._until = zygote, until

    def waited_for(self, pid: int, when: float) -> bool:
        return pid == self._zygote and when <= self._until

    def launch(self, _: Plan) -> Running:
        return cast(Running, self)


class PlayedPlan:
    zygote = Plan.zygote

    def __init__(self, warm: bool) -> None:
        self.context = Context.parse(ALICE)
        self.warm = warm or None


class Scene:
    """A worker's Denials with the listener's end of its socket."""

    def __init__(self, folder: Path, labels: PlayedLabels, workers: int = 1) -> None:
        self.page = DenialPage(memoryview(bytearray(DenialPage.BYTES)))
        self.path = folder / "avc.sock"
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(self.path))
        self.door.listen()
        self.denials = Denials(self.path, labels, self.page, 0, workers)
        self.poller = Poller()
        self.denials.begin(asyncio.get_running_loop(), self.poller)
        assert not self.denials.heard
        self.peer = self.greet()
        self.lines: list[Entry] = []

    def greet(self) -> socket.socket:
        peer = self.door.accept()[0]
        peer.send(HELLO)
        self.poller.dispatch()
        return peer

    def begin(self, pid: int, user: str = "alice", run: PlayedRun | None = None) -> Entry:
        """A script that runs by now; `run`: in a fork of a warm interpreter."""
        entry = Entry(id="0123456789ab", user=user, script="/srv/cgi/report.cgi")
        launcher = cast(Launcher, run or PlayedRun(pid))
        self.denials.launch(launcher, cast(Plan, PlayedPlan(run is not None)), entry)
        return entry

    def fails(self, run: PlayedRun) -> Entry:
        """A script of a warm interpreter that can't be launched."""
        entry = Entry(id="0123456789ab", user="alice", script="/srv/cgi/report.cgi")
        with suppress(OSError, ZygoteFailed):
            self.denials.launch(cast(Launcher, run), cast(Plan, PlayedPlan(warm=True)), entry)
        return entry

    def tell(self, pid: int, name: str = "x", skipped: int = 0, when: float = 0.0, source: str = ALICE) -> None:
        fields = {"name": name}
        told = Denial(when or time.time(), 1, pid, "report.cgi", ("read",), source, TARGET, "file", fields)
        self.peer.send(encode(told, skipped))
        self.poller.dispatch()

    def settle(self, entry: Entry) -> None:
        self.denials.settle(entry, lambda: self.lines.append(replace(entry)))

    async def written(self, entry: Entry) -> tuple[str, ...]:
        self.settle(entry)
        assert not self.lines, "its line waits"
        await self.denials.settled()
        return self.lines[-1].denied

    def close(self) -> None:
        self.denials.close()
        self.poller.close()
        self.peer.close()
        self.door.close()


def play(scene: list[Scene], tmp_path: Path, workers: int = 1) -> Scene:
    scene.append(Scene(tmp_path, PlayedLabels(), workers))
    return scene[0]
