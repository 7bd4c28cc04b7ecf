"""Under a steady load: reloads, killed workers and restarts. Only a killed worker's own requests are lost."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import USER, Place, Serve, cgroup, place, serve  # noqa: F401 - fixtures
from tests.robust.test_robust import LONG, children
from tests.stack import PROGRAM, TREE, Answer, Ask, ask_async, wait_until

pytestmark = pytest.mark.long

CLIENTS = 8
EVENTS = 10 if LONG else 3
USERS = 1_000_000 if LONG else 100_000
HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
SLEEPS = "#!/bin/sh\nsleep 0.2\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"


class Load:
    """Clients that ask one after the other, until `events` are over."""

    def __init__(self, path: Path, asked: Ask) -> None:
        self.path, self.asked = path, asked
        self.answers: list[Answer] = []
        self.lost = 0
        self._over = False

    def during(self, pause: float, event: Callable[[int], None]) -> None:
        asyncio.run(self._run(pause, event))

    async def _run(self, pause: float, event: Callable[[int], None]) -> None:
        clients = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        for number in range(EVENTS):
            await asyncio.sleep(pause)
            await asyncio.to_thread(event, number)
        await asyncio.sleep(pause)
        self._over = True
        await asyncio.gather(*clients)

    async def _client(self) -> None:
        while not self._over:
            answer = await ask_async(self.path, self.asked)
            self.answers.append(answer)
            self.lost += answer.status == 0 or not answer.complete


def test_reloads_lose_nothing(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    path = place.script("sleeps.cgi", SLEEPS)
    with serve(f"--cgroup={cgroup}", "--workers=2") as selcgi:
        load = Load(selcgi.socket, Ask(path, "alice"))

        def reload(number: int) -> None:
            place.rules(f"alice user_webapp_t:s0:c{number + 5}", "* deny")
            selcgi.signal(signal.SIGHUP)

        load.during(2.0, reload)
        assert {answer.status for answer in load.answers} == {200}
        wait_until("all lines", lambda: len(selcgi.entries()) == len(load.answers))
        contexts = {entry["context"].rpartition(":")[2] for entry in selcgi.entries()}
        assert contexts >= {f"c{number + 5}" for number in range(EVENTS)}
        print(f"\n{len(load.answers)} requests, {EVENTS} reloads, none lost")


def test_a_reload_of_many_users_loses_nothing(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    """Nor does it keep anybody waiting: requests are answered while the new table is made."""
    path = place.script("hello.cgi", HELLO)
    users = [f"user{n} user_webapp_t:s0:c{n % 1000}" for n in range(USERS)]
    with serve(f"--cgroup={cgroup}", "--workers=2") as selcgi:
        load = Load(selcgi.socket, Ask(path, "alice"))
        meanwhile: list[int] = []

        def reload(number: int) -> None:
            place.rules(*users, f"alice user_webapp_t:s0:c{number + 5}", "* deny")
            before = len(load.answers)
            selcgi.signal(signal.SIGHUP)
            wait_until("the reload", lambda: selcgi.log().count("reloaded: ") == number + 1, pause=0.1)
            meanwhile.append(len(load.answers) - before)

        load.during(1.0, reload)
        assert {answer.status for answer in load.answers} == {200}
        wait_until("all lines", lambda: len(selcgi.entries()) == len(load.answers))
        contexts = [entry["context"].rpartition(":")[2] for entry in selcgi.entries()]
        assert set(contexts) == {"c1", *(f"c{number + 5}" for number in range(EVENTS))}
        assert all(meanwhile)
        print(f"\n{len(load.answers)} requests, {EVENTS} reloads of {USERS} users, {meanwhile} answered in them")


def test_a_killed_worker_loses_its_own(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    path = place.script("sleeps.cgi", SLEEPS)
    with serve(f"--cgroup={cgroup}", "--workers=2") as selcgi:
        load = Load(selcgi.socket, Ask(path, "alice"))
        held: list[int] = []

        def kill(_: int) -> None:
            victim = selcgi.workers()[0]
            os.kill(victim, signal.SIGSTOP)
            held.append(connections(victim, selcgi.socket))
            os.kill(victim, signal.SIGKILL)

        load.during(3.0, kill)
        lost = [answer for answer in load.answers if answer.status != 200]
        assert {answer.status for answer in lost} <= {0}, "a request is answered or broken off, never wrong"
        assert 0 < load.lost <= sum(held), "none of another worker's"
        print(f"\n{len(load.answers)} requests, {EVENTS} killed workers, {load.lost} of theirs lost")


def connections(worker: int, path: Path) -> int:
    """How many it has accepted at the socket `path`: state 3 in /proc/net/unix."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    accepted = {f"socket:[{line[6]}]" for line in lines if line[5] == "03" and line[-1] == str(path)}
    return len(accepted & {str(one.readlink()) for one in Path(f"/proc/{worker}/fd").iterdir()})


@pytest.fixture
def listener(place: Place) -> Iterator[socket.socket]:  # noqa: F811
    """As systemd would hold it: it stays open while selcgi is restarted."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place.folder / "held.sock"))
        sock.listen(128)
        yield sock


def test_restarts_and_drains_lose_nothing(place: Place, listener: socket.socket) -> None:  # noqa: F811
    path = place.script("sleeps.cgi", SLEEPS)
    line = [
        *PROGRAM,
        "serve",
        f"--listen=fd:{listener.fileno()},identity=remote-user",
        "--selinux=off",
        "--cgroup=none",
    ]
    line += [f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--workers=2"]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(line, env=environ, stderr=subprocess.DEVNULL, pass_fds=[listener.fileno()])

    with ExitStack() as held:
        running = [start()]

        def stop() -> None:
            # Before it has workers a signal may find no handler yet.
            wait_until("workers", lambda: children(running[0].pid))
            running[0].terminate()
            assert running[0].wait(30) == 0

        def restart(_: int) -> None:
            stop()
            running[0] = start()

        held.callback(stop)

        load = Load(place.folder / "held.sock", Ask(path, "alice"))
        load.during(2.0, restart)
    assert {answer.status for answer in load.answers} == {200}
    assert load.lost == 0
    print(f"\n{len(load.answers)} requests, {EVENTS} restarts, none lost")
