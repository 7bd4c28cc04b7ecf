"""What a bad day brings: many at once, much at once, many in a row, and a worker that is killed.

The volume is small, or full with SELCGI_TEST_LONG=1 (bin/test --long). Figures go to stdout; none is judged but bounds
on memory, descriptors and processes.
"""

import asyncio
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from selcgi.serve.client import request
from tests.e2e.conftest import Place, Serve, cgroup, place, serve, way  # noqa: F401 - fixtures
from tests.family import SOURCE, new_tag, wait_dead, wait_started
from tests.stack import Ask, Selcgi, ask, ask_all, wait_until

pytestmark = pytest.mark.long

LONG = os.environ.get("SELCGI_TEST_LONG") == "1"
MIB = 1 << 20
HASH = """#!/usr/bin/python3
import hashlib, sys
digest = hashlib.sha256()
sys.stdout.write("Content-Type: application/octet-stream\\n\\n")
sys.stdout.flush()
while piece := sys.stdin.buffer.read(65536):
    digest.update(piece)
    sys.stdout.buffer.write(piece)
sys.stdout.buffer.write(digest.hexdigest().encode())
"""
HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"


@pytest.fixture
def selcgi(serve: Serve, cgroup: Path) -> Iterator[Selcgi]:  # noqa: F811
    with serve(f"--cgroup={cgroup}", "--timeout=300") as running:
        yield running


def memory(pid: int, field: str = "VmRSS") -> int:
    """Bytes, of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_two_hundred_sleepers_at_once(selcgi: Selcgi, place: Place) -> None:  # noqa: F811
    path = place.script("sleep.cgi", "#!/bin/sh\nsleep 2\nprintf 'Content-Type: text/plain\\n\\nslept\\n'\n")
    answers = ask_all(selcgi.socket, [Ask(path, "alice")] * 200)
    assert [answer.text for answer in answers] == ["slept\n"] * 200


def test_a_thousand_at_once_in_bounded_memory(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    """As one user, who may have three quarters of all places."""
    number = 1_000 if LONG else 300
    path = place.script(
        "sleep.cgi", f"#!/bin/sh\nsleep {6 if LONG else 2}\nprintf 'Content-Type: text/plain\\n\\nslept\\n'\n"
    )
    with serve(f"--cgroup={cgroup}", "--timeout=300", "--concurrent=1400", "--queue=16") as selcgi:
        (worker,) = selcgi.workers()
        ask(selcgi.socket, Ask(path, "alice"))
        before = memory(worker, "VmHWM")
        answers = ask_all(selcgi.socket, [Ask(path, "alice")] * number)
        grown = memory(worker, "VmHWM") - before
        print(f"\n{number} requests at once: the worker's peak grew by {grown // 1024} KiB")
        assert [answer.text for answer in answers] == ["slept\n"] * number
        assert grown < number * 100 * 1024


def test_much_up_and_down_in_flat_memory(selcgi: Selcgi, place: Place) -> None:  # noqa: F811
    size = 1024 * MIB if LONG else 16 * MIB
    path = place.script("hash.cgi", HASH)
    (worker,) = selcgi.workers()
    ask(selcgi.socket, Ask(path, "alice", body=b"warm"))
    before = memory(worker, "VmHWM")
    sent, received, tail = asyncio.run(exchange(selcgi, Ask(path, "alice", method="POST"), size))
    grown = memory(worker, "VmHWM") - before
    print(f"\n{size // MIB} MiB up and down: the worker's peak grew by {grown // 1024} KiB")
    assert received == (sent, size)
    assert tail == sent.encode(), "what the script has read is what was sent"
    assert grown < 4 * MIB


async def exchange(selcgi: Selcgi, asked: Ask, size: int) -> tuple[str, tuple[str, int], bytes]:
    """Of `size` random bytes: the hash sent, hash and number of the bytes that came back, and what came after them."""
    up, down = hashlib.sha256(), hashlib.sha256()
    pending, number = bytearray(), 0

    async def pieces() -> AsyncIterator[bytes]:
        piece = os.urandom(MIB)
        for _ in range(size // MIB):
            up.update(piece)
            yield piece

    def take(data: bytes) -> None:
        nonlocal number
        pending.extend(data)
        if number == 0 and b"\r\n\r\n" in pending[:1000]:
            del pending[: pending.index(b"\r\n\r\n") + 4]
        part = pending[: size - number]
        number += len(part)
        down.update(part)
        del pending[: len(part)]

    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(selcgi.socket))
        asked.params = {"CONTENT_LENGTH": str(size)}
        await request(sock, asked.pairs(), pieces(), take, lambda _: None)
    return up.hexdigest(), (down.hexdigest(), number), bytes(pending)


def test_a_script_that_writes_before_it_reads(selcgi: Selcgi, place: Place) -> None:  # noqa: F811
    text = (
        "#!/usr/bin/python3\nimport sys\nout = sys.stdout.buffer\n"
        "out.write(b'Content-Type: text/plain\\n\\n' + b'w' * 1048576)\nout.flush()\n"
        "out.write(b'%d' % len(sys.stdin.buffer.read()))\n"
    )
    answer = ask(selcgi.socket, Ask(place.script("eager.cgi", text), "alice", body=b"r" * MIB))
    assert answer.body == b"w" * MIB + b"1048576"


def test_many_in_a_row_leave_nothing(selcgi: Selcgi, place: Place) -> None:  # noqa: F811
    count, first = (100_000, 1_000) if LONG else (1_500, 500)
    path = place.script("hello.cgi", HELLO)
    (worker,) = selcgi.workers()

    def run(number: int) -> None:
        for _ in range(number // 50):
            assert all(answer.text == "hello\n" for answer in ask_all(selcgi.socket, [Ask(path, "alice")] * 50))

    run(first)
    before = (memory(worker), descriptors(worker), children(worker))
    run(count - first)
    wait_until("the same descriptors", lambda: descriptors(worker) <= before[1])
    grown = memory(worker) - before[0]
    print(f"\n{count} requests in a row: the worker's memory grew by {grown // 1024} KiB after the first {first}")
    assert grown <= 2 * MIB
    assert children(worker) == before[2]
    assert selcgi.workers() == [worker]


def test_a_killed_worker_fails_its_own_requests_only(place: Place, serve: Serve, cgroup: Path) -> None:  # noqa: F811
    path = place.script("family.cgi", SOURCE)
    slow = place.script("slow.cgi", "#!/bin/sh\nsleep 3\nprintf 'Content-Type: text/plain\\n\\nslow\\n'\n")
    with serve(f"--cgroup={cgroup}", "--workers=2") as selcgi:
        workers = selcgi.workers()
        tag = new_tag()
        pid = os.fork()
        if pid == 0:
            ask(selcgi.socket, Ask(path, "alice", f"hang={tag}"))
            os._exit(0)
        wait_started(tag)
        victim = worker_of(workers, tag)
        os.kill(victim, signal.SIGSTOP)  # so that all others go to the other worker
        other = os.fork()
        if other == 0:
            good = [answer.text for answer in ask_all(selcgi.socket, [Ask(slow, "bob")] * 60)].count("slow\n")
            os._exit(good)
        (survivor,) = [worker for worker in workers if worker != victim]
        wait_until("slow scripts of the other worker", lambda: len(children(survivor)) > 2)
        os.kill(victim, signal.SIGKILL)
        wait_dead(tag)
        os.waitpid(pid, 0)
        good = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        assert good == 60, "requests of the other worker were all answered"
        assert ask(selcgi.socket, Ask(slow, "bob")).text == "slow\n"


def worker_of(workers: list[int], tag: str) -> int:
    """The worker whose child runs the family."""
    for worker in workers:
        for child in children(worker):
            if tag.encode() in Path(f"/proc/{child}/environ").read_bytes():
                return worker
    raise AssertionError("no worker has it")
