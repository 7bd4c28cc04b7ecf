"""Contestants at work: started in cgroups of their own, waited for, asked once, ended by pid.

Decides when one counts as running: every socket of its listens. Whatever happens, it has ended when the block ends, and
what it started with it. Called by tests/bench.
"""

import contextlib
import http.client
import shlex
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from tests.bench.contestants import Address, Contestant, Front
from tests.bench.place import BenchFailed, Place, group
from tests.bench.scripts import Script, path
from tests.stack import wait_until

_PATIENCE = 20.0  # seconds
_WARM_UP = 5  # requests


@contextlib.contextmanager
def running(one: Contestant) -> Iterator[None]:
    """Its processes, in its cgroup from the first on. BenchFailed when it does not listen."""
    with group(one.place.cgroup, one.slug) as cgroup, open(one.folder / "output", "wb") as file:
        line = f"echo $$ > {cgroup}/start/cgroup.procs; exec {shlex.join(map(str, one.words()))}"
        one.socket.unlink(missing_ok=True)  # of a run before
        process = subprocess.Popen(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/")
        try:
            _wait(one, process)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait()


def _wait(one: Contestant, process: "subprocess.Popen[bytes]") -> None:
    addresses = one.addresses()
    try:
        wait_until("listening", lambda: process.poll() is not None or all(map(_listens, addresses)), _PATIENCE)
        assert process.poll() is None, f"it ended with {process.returncode}"
    except AssertionError as error:
        raise BenchFailed(f"{one.name}: {error}; it said:\n{one.said()}") from error


def _listens(address: Address) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        return sock.connect_ex(address) == 0


@contextlib.contextmanager
def all_running(ones: Sequence[Contestant], place: Place) -> Iterator[Front]:
    """All of them, and the nginx in front of some."""
    front = Front(place, [one for one in ones if one.kind != "direct"])
    with contextlib.ExitStack() as stack:
        for one in (*ones, front):
            stack.enter_context(running(one))
        yield front


def check(one: Contestant, script: Script) -> None:
    """BenchFailed unless it answers this script as it should."""
    status, body = get(one, script.name)
    if (status, body.replace(b"\r", b"")) != (200, b"hello\n"):
        raise BenchFailed(f"{one.name} answered {script.title} with {status} {body[:200]!r}; it said:\n{one.said()}")


def get(one: Contestant, script: str) -> tuple[int, bytes]:
    """Status and body of one request, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path(script))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def warm_up(one: Contestant, script: Script, left_out: dict[str, str]) -> float:
    """Seconds of one request, the middle of some; 0 when its answer is wrong."""
    key = f"{one.name}, {script.title}"
    left_out.pop(key, None)
    times = []
    try:
        for _ in range(_WARM_UP):
            began = time.perf_counter()
            check(one, script)
            times.append(time.perf_counter() - began)
    except BenchFailed as error:
        left_out[key] = str(error)
        return 0.0
    return statistics.median(times)
