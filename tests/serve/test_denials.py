"""A worker and its denial listener, played on a real socket: whose a refusal is, what waits, what is bounded."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import cast

import pytest

from selcgi.launch.running import Running
from selcgi.serve import denials
from selcgi.serve.accesslog import Entry
from selcgi.serve.case import MOST, Case
from selcgi.serve.denialpage import DenialPage, Told
from selcgi.serve.denials import Denials
from selcgi.serve.poller import Poller
from tests.serve.hearing import ALICE, GONE, PlayedLabels, PlayedRun, Scene, play


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
    case = Case(Entry(), ALICE, "", time.time(), running=cast(Running, run))
    assert case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-1"))
    assert not case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-11"))
    assert not case.holds(Lineage((GONE,), "/selcgi/worker-1/leaf-1"))
    case.ended = time.time()
    assert not case.holds(Lineage((1, 2), "/selcgi/worker-0/leaf-1"))
