"""More than there is room for: who gets in, who is told to come again, and that it is over when it is over."""

import asyncio
import os
import signal

import pytest

from tests.e2e.conftest import Place, Serve
from tests.stack import Answer, Ask, Selcgi, ask, ask_all, ask_async, wait_until

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
NAP = "#!/bin/sh\nsleep 0.05\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
# How many of its kind there are now, itself included.
COUNT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
mkdir "$CGI_MARKS/here.$$"
ls -d "$CGI_MARKS"/here.* | wc -l
sleep 0.2
rmdir "$CGI_MARKS/here.$$"
"""
BODY = bytes(200_000)


async def rounds(selcgi: Selcgi, asked: Ask, clients: int, number: int) -> list[Answer]:
    """So many clients, each with one request after the other."""

    async def one() -> list[Answer]:
        return [await ask_async(selcgi.socket, asked) for _ in range(number)]

    return [answer for answers in await asyncio.gather(*(one() for _ in range(clients))) for answer in answers]


class Greed:
    """Clients who ask again as soon as they are answered or refused, until it is over."""

    def __init__(self, selcgi: Selcgi, asked: Ask, clients: int) -> None:
        self.answers: list[Answer] = []
        self.over = False
        self._tasks = [asyncio.create_task(self._one(selcgi, asked)) for _ in range(clients)]

    async def _one(self, selcgi: Selcgi, asked: Ask) -> None:
        while not self.over:
            self.answers.append(await ask_async(selcgi.socket, asked))
            await asyncio.sleep(0.2)  # or the clients' own work would be all that this machine does

    async def until_refused(self) -> None:
        while all(answer.status == 200 for answer in self.answers):
            await asyncio.sleep(0.01)

    async def end(self) -> list[Answer]:
        self.over = True
        await asyncio.gather(*self._tasks)
        return self.answers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_greedy_user_leaves_room_for_the_others(serve: Serve, place: Place, workers: int) -> None:
    path = place.script("nap.cgi", NAP)
    with serve("--cgroup=none", "--concurrent=8", "--queue=32", f"--workers={workers}") as selcgi:

        async def both() -> tuple[list[Answer], list[Answer]]:
            greedy = Greed(selcgi, Ask(path, "alice", body=BODY), 200)
            await greedy.until_refused()
            bobs = await rounds(selcgi, Ask(path, "bob"), 2, 10)
            return await greedy.end(), bobs

        alices, bobs = asyncio.run(both())
        assert {answer.status for answer in bobs} == {200}
        assert {answer.status for answer in alices} == {200, 503}
        assert all(answer.complete for answer in alices)
        refused = next(answer for answer in alices if answer.status == 503)
        assert refused.headers["Retry-After"] == "5"
        assert ask(selcgi.socket, Ask(path, "alice")).status == 200
        entry = next(entry for entry in selcgi.entries() if entry["status"] == 503)
        assert entry["step"] == "admission"
        assert "--concurrent" in entry["fix"]


@pytest.mark.parametrize(
    ("options", "rule", "most"),
    [
        (("--concurrent=2", "--concurrent-user=2"), "", {2}),
        (("--concurrent-user=3",), "", {3}),
        (("--concurrent-worker=1",), "", {1, 2}),  # one worker may have taken all connections
        ((), "max=2", {2}),
    ],
    ids=["all", "user", "worker", "rule"],
)
def test_no_limit_is_passed_by_any_number_of_workers(
    serve: Serve, place: Place, options: tuple[str, ...], rule: str, most: set[int]
) -> None:
    path = place.script("count.cgi", COUNT)
    place.rules(f"* user_webapp_t:s0 {rule}")
    with serve("--cgroup=none", "--workers=2", *options) as selcgi:
        answers = ask_all(selcgi.socket, [Ask(path, "alice")] * 12)
        assert [answer.status for answer in answers] == [200] * 12
        assert max(int(answer.text) for answer in answers) in most


def test_a_second_context_brings_a_user_no_more_places(serve: Serve, place: Place) -> None:
    asked = [Ask(place.script(name, COUNT), "alice") for name in ("one.cgi", "two.cgi")]
    place.rules("alice user_webapp_t:s0:c1 script=*/one.cgi", "alice user_webapp_t:s0:c2")
    with serve("--cgroup=none", "--workers=2", "--concurrent-user=2") as selcgi:
        answers = ask_all(selcgi.socket, asked * 5)
        assert [answer.status for answer in answers] == [200] * 10
        assert max(int(answer.text) for answer in answers) == 2


def test_a_dead_worker_gives_its_places_back(serve: Serve, place: Place) -> None:
    path = place.script("hang.cgi", "#!/bin/sh\ntouch $CGI_MARKS/started\nsleep 600\n")
    with serve("--cgroup=none", "--concurrent=1", "--queue-time=1") as selcgi:

        async def hang() -> None:
            task = asyncio.create_task(ask_async(selcgi.socket, Ask(path, "alice")))
            while not (place.marks / "started").exists():
                await asyncio.sleep(0.01)
            assert (await ask_async(selcgi.socket, Ask(path, "bob"))).status == 503
            os.kill(selcgi.workers()[0], signal.SIGKILL)
            assert not (await task).complete

        asyncio.run(hang())
        hello = place.script("hello.cgi", HELLO)
        wait_until("an answer of the next worker", lambda: ask(selcgi.socket, Ask(hello, "bob")).status == 200)
