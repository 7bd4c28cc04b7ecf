"""A large body down, and one up, by every launcher: seconds and CPU time.

Decides the ways: over HTTP, through nginx for those that are no web server, and for those that speak FastCGI also at
their sockets, where nothing hides what they cost. The client and the scripts are those of bodies.py. Called by
tests/bench.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench import bodies
from tests.bench.contestants import Contestant
from tests.bench.measure import cpu_us, launcher, processes_us
from tests.bench.place import BenchFailed, Place
from tests.bench.rates import Say
from tests.bench.running import all_running

HTTP, SOCKET = "HTTP", "FastCGI"


def large(place: Place, kinds: Sequence[type[Contestant]], mib: int, rounds: int, say: Say) -> list[dict[str, Any]]:
    """Rows of contestant, way, direction, round, seconds, and CPU seconds: all, and the launcher's own."""
    size = mib << 20
    with open(place.folder / "body", "wb") as body:
        body.truncate(size)
    for name, text in bodies.SCRIPTS.items():
        place.file(f"cgi/{name}.cgi", text.format(folder=place.folder), 0o755)
    ones = [kind(place) for kind in kinds if kind.name != "selcgi warm"]  # it starts these as selcgi does
    rows = []
    with all_running(ones, place):
        for number in range(rounds):
            for way, direction, one in _turns(ones):
                say(f"{mib} MiB {direction}, {way}, round {number + 1}: {one.name}")
                rows.append({"round": number, "mib": mib, **_row(one, way, direction, size)})
    return rows


def _turns(ones: Sequence[Contestant]) -> Iterator[tuple[str, str, Contestant]]:
    for way in (HTTP, SOCKET):
        for direction in bodies.SCRIPTS:
            yield from ((way, direction, one) for one in ones if way == HTTP or one.kind == "fastcgi")


def _row(one: Contestant, way: str, direction: str, size: int) -> dict[str, Any]:
    pids = launcher(one)
    responder = bodies.Responder(one.name, one.socket, one.port, lambda: pids[0])
    before, own = cpu_us(one.cgroup), processes_us(pids)
    script = one.place.cgi / f"{direction}.cgi"
    try:
        took = bodies.measure(responder, "nginx" if way == HTTP else "socket", script, size)
    except (AssertionError, OSError) as error:
        raise BenchFailed(f"{one.name}, {size} bytes {direction}, {way}: {error}; it said:\n{one.said()}") from error
    after = processes_us(pids)
    return {
        "contestant": one.name,
        "way": way,
        "direction": direction,
        "seconds": took.seconds,
        "cpu": (cpu_us(one.cgroup) - before) / 1e6,
        "own_cpu": sum(after[pid] - own[pid] for pid in after) / 1e6,
    }
