"""A worker and its denial listener, played on a real socket: whose a refusal is, what waits, what is bounded."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from selcgi.context import Context
from selcgi.launch.cold import Launcher
from selcgi.launch.running import Running
from selcgi.plan import Plan
from selcgi.serve import denials
from selcgi.serve.accesslog import Entry
from selcgi.serve.case import MOST, Case
from selcgi.serve.denialpage import DenialPage, Told
from selcgi.serve.denials import Denials
from selcgi.serve.poller import Poller
from selcgi.system.audit import HELLO, Denial, encode
from tests.fakes import FakeLabels, FakePolicy

ALICE = "system_u:system_r:user_webapp_t:s0:c1"
TARGET = "system_u:object_r:user_webapp_rw_t:s0:c2"
GONE = 4_000_000  # above pid_max: no such process


class PlayedLabels(FakeLabels):
    """Who listens is what the test says."""

    def __init__(self, listener: str = "selcgi_avc_t") -> None:
        super().__init__()
        self.policy = FakePolicy({("user_webapp_t", "user_webapp_rw_t", "file"): ("read",)})
        self._listener = Context("system_u", "system_r", listener, "s0")

    def peer_context(self, sock: socket.socket) -> Context | None:  # noqa: ARG002
        return self._listener


class PlayedRun:
    """What a case asks of a script that runs; it is its own launcher."""

    def __init__(self, pid: int) -> None:
        self.pid = self.root = pid
        self.cgroup = ""

    def launch(self, _: Plan) -> Running:
        return cast(Running, self)


class PlayedPlan:
    context = ALICE


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

    def begin(self, pid: int, user: str = "alice") -> Entry:
        entry = Entry(id="0123456789ab", user=user, script="/srv/cgi/report.cgi")
        run = cast(Launcher, PlayedRun(pid))
        self.denials.launch(run, cast(Plan, PlayedPlan()), entry)
        return entry

    def tell(self, pid: int, name: str = "x", skipped: int = 0, when: float = 0.0) -> None:
        fields = {"name": name}
        told = Denial(when or time.time(), 1, pid, "report.cgi", ("read",), ALICE, TARGET, "file", fields)
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


@pytest.fixture
def scene() -> Iterator[list[Scene]]:
    made: list[Scene] = []
    yield made
    for one in made:
        one.close()


def play(scene: list[Scene], tmp_path: Path, workers: int = 1) -> Scene:
    scene.append(Scene(tmp_path, PlayedLabels(), workers))
    return scene[0]


def test_a_refusal_of_its_process_is_in_its_line_alone(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine, other = one.begin(GONE), one.begin(GONE + 1)
        one.tell(GONE)
        (sentence,) = await one.written(mine)
        assert sentence.startswith("alice's script report.cgi (user_webapp_t:s0:c1) wanted to read x ")
        one.settle(other)
        await one.denials.settled()
        assert one.lines[-1].denied == ()
        assert one.page.counts[Told.JOINED] == 1

    asyncio.run(work())


def test_what_it_started_is_found_while_it_is_there(scene: list[Scene], tmp_path: Path) -> None:
    async def work(script: int, started: int) -> None:
        one = play(scene, tmp_path, workers=2)
        mine = one.begin(script)
        one.begin(GONE)
        one.tell(started)
        (sentence,) = await one.written(mine)
        assert "probably" not in sentence

    line = ["sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, start_new_session=True) as script:
        assert script.stdout is not None
        started = int(script.stdout.readline())
        asyncio.run(work(script.pid, started))
        os.kill(started, signal.SIGKILL)


@pytest.mark.parametrize(("workers", "others", "sure"), [(1, 0, True), (1, 1, False), (2, 0, False)])
def test_a_context_is_certain_only_if_nobody_else_can_have_it(
    scene: list[Scene], tmp_path: Path, workers: int, others: int, sure: bool
) -> None:
    async def work() -> None:
        one = play(scene, tmp_path, workers)
        mine = one.begin(GONE)
        for number in range(others):
            one.begin(GONE + 1 + number)
        one.tell(GONE + 100)
        (sentence,) = await one.written(mine)
        assert sentence.startswith("probably of this request: ") is not sure

    asyncio.run(work())


def test_what_came_before_it_or_long_after_is_not_its_own(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        one.tell(GONE, when=time.time() - 5)
        one.tell(GONE, when=time.time() + 5)
        one.settle(mine)
        one.tell(GONE, when=time.time() + 5)
        await one.denials.settled()
        assert one.lines[-1].denied != ()  # the second: it still ran then
        assert len(one.lines[-1].denied) == 1

    asyncio.run(work())


def test_one_that_comes_after_the_line_is_in_the_status(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        ended = time.time()
        assert await one.written(mine) == ()
        one.tell(GONE, when=ended)
        assert one.page.counts[Told.LATE] == 1
        assert [(row.id, row.user) for row in one.page.last()] == [(mine.id, "alice")]

    asyncio.run(work())


def test_sentences_are_bounded_and_the_rest_is_counted(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        for number in range(MOST + 5):
            one.tell(GONE, f"x{number}", skipped=100 * (number == 0))
            one.tell(GONE, f"x{number}")
        told = await one.written(mine)
        assert len(told) == MOST + 1
        assert told[-1] == f"and {100 + MOST + 2 * 5} more like these"
        assert one.page.counts[Told.SKIPPED] == 100

    asyncio.run(work())


def test_lines_that_wait_are_bounded(scene: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "_HELD_MOST", 3)

    async def work() -> None:
        one = play(scene, tmp_path)
        entries = [one.begin(GONE + number) for number in range(5)]
        for entry in entries:
            one.settle(entry)
        assert [line.id for line in one.lines] == [entries[0].id] * 2
        one.denials.close()
        assert len(one.lines) == 5

    asyncio.run(work())


def test_nothing_waits_without_a_listener(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        one.peer.close()
        one.poller.dispatch()
        assert not one.denials.heard
        mine = one.begin(GONE)
        one.settle(mine)
        assert len(one.lines) == 1
        await asyncio.sleep(0.3)
        one.peer = one.greet()
        assert one.denials.heard, "it was found again"

    asyncio.run(work())


def test_another_domain_is_no_listener(tmp_path: Path) -> None:
    async def work() -> None:
        page = DenialPage(memoryview(bytearray(DenialPage.BYTES)))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(str(tmp_path / "avc.sock"))
            door.listen()
            door.settimeout(5)
            one = Denials(tmp_path / "avc.sock", PlayedLabels("user_webapp_t"), page)
            one.begin(asyncio.get_running_loop(), Poller())
            with door.accept()[0] as peer:
                peer.settimeout(5)
                assert peer.recv(10) == b"", "it was left at once"
            one.close()

    asyncio.run(work())


def test_garbage_of_the_listener_is_passed_over(scene: list[Scene], tmp_path: Path) -> None:
    async def work() -> None:
        one = play(scene, tmp_path)
        mine = one.begin(GONE)
        for packet in (b"{}", b"lost ", b"lost x", b"lost -9" + b"9" * 2000, b"lost 2953"):
            one.peer.send(packet)
        one.tell(GONE)
        assert len(await one.written(mine)) == 1, "what was lost may have been of anybody's flood"
        assert one.page.counts[Told.SKIPPED] == 2953

    asyncio.run(work())


def test_what_has_ended_is_forgotten(scene: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "_ENDED_MOST", 2)

    async def work() -> None:
        one = play(scene, tmp_path)
        for number in range(10):
            one.settle(one.begin(GONE + number))
        await one.denials.settled()
        assert sum(map(len, one.denials._cases.values())) == 2

    asyncio.run(work())


def test_a_case_knows_a_member_of_its_cgroup_only_while_it_runs() -> None:
    from selcgi.system.lineage import Lineage

    run = PlayedRun(GONE)
    run.cgroup = "/worker-0/leaf-1"
    case = Case(Entry(), ALICE, time.time(), running=cast(Running, run))
    assert case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-1"))
    assert not case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-11"))
    assert not case.holds(Lineage((GONE,), "/selcgi/worker-1/leaf-1"))
    case.ended = time.time()
    assert not case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-1"))
