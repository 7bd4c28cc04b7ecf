"""Slow clients and slow scripts, a byte a second, do not hold up the others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from selcgi.serve.client import request
from tests.e2e.conftest import Place, Serve, cgroup, place, serve  # noqa: F401 - fixtures
from tests.robust.test_robust import LONG
from tests.stack import Ask, Selcgi, ask_async, wait_until

pytestmark = pytest.mark.long

SLOW, NORMAL = (500, 200) if LONG else (100, 40)
LENGTH = 1000
HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
TAKES = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; wc -c\n"
GIVES = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
until [ -e $CGI_MARKS/go ]; do printf x; sleep 1; done
echo end
"""


class Slow:
    """Requests of a byte a second: half of them uploads, half of them downloads."""

    def __init__(self, selcgi: Selcgi, takes: str, gives: str) -> None:
        self.hurry = asyncio.Event()
        self.received = [bytearray() for _ in range(SLOW)]
        self.tasks = [
            asyncio.create_task(self._one(selcgi, number, takes if number % 2 else gives)) for number in range(SLOW)
        ]

    async def _one(self, selcgi: Selcgi, number: int, script: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(selcgi.socket))
        upload = number % 2 == 1
        asked = Ask(
            script, "alice", method="POST" if upload else "GET", params={"CONTENT_LENGTH": str(LENGTH * upload)}
        )
        out = self.received[number]
        await request(sock, asked.pairs(), self._bytes(LENGTH * upload), out.extend, lambda _: None)

    async def _bytes(self, number: int) -> AsyncIterator[bytes]:
        for sent in range(number):
            if self.hurry.is_set():
                yield b"x" * (number - sent)
                return
            yield b"x"
            try:
                await asyncio.wait_for(self.hurry.wait(), 1)
            except TimeoutError:
                continue


def test_normal_requests_pass_slow_ones(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    hello, takes, gives = (
        place.script(f"{name}.cgi", text) for name, text in (("hello", HELLO), ("takes", TAKES), ("gives", GIVES))
    )
    with serve(f"--cgroup={cgroup}", "--timeout=600", "--idle-timeout=60", "--first-byte-timeout=600") as selcgi:

        async def act() -> None:
            slow = Slow(selcgi, takes, gives)
            while len(children(selcgi)) < SLOW:
                await asyncio.sleep(0.05)
            answers = [await ask_async(selcgi.socket, Ask(hello, "bob")) for _ in range(NORMAL)]
            assert [answer.text for answer in answers] == ["hello\n"] * NORMAL
            assert not [task for task in slow.tasks if task.done()], "every slow one is still open"
            assert len(children(selcgi)) == SLOW
            slow.hurry.set()
            (place.marks / "go").touch()
            await asyncio.gather(*slow.tasks)
            for number, received in enumerate(slow.received):
                assert received.endswith(b"%d\n" % LENGTH if number % 2 else b"xend\n"), received[-50:]

        asyncio.run(act())
        wait_until("all lines", lambda: len(selcgi.entries()) == SLOW + NORMAL)
        assert {entry["status"] for entry in selcgi.entries()} == {200}
        print(f"\n{NORMAL} requests were answered while {SLOW} slow ones were open")


def children(selcgi: Selcgi) -> list[str]:
    (worker,) = selcgi.workers()
    return Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
