"""What a mapping of many users costs: time to read it, memory of it all and of each worker's own, time to find a user.

Each user has categories of his own, the costliest kind of line. The memory is that of processes forked after the file
was read, as workers are, when each has looked 20,000 users up: all of it, by their share (PSS), and what only one has.
"""

import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from selcgi.mapping.index import Index
from selcgi.mapping.table import Query, Table

SIZES = (10, 1_000, 100_000, 1_000_000)
WORKERS, LOOKUPS, ROUNDS = 4, 20_000, 5
_ROW = "{:>10} {:>10} {:>10} {:>14} {:>14} {:>14}"


def text_of(users: int) -> bytes:
    lines = (f"user{n} user_webapp_t:s0:c{n % 1000},c{1000 + n // 1000}\n" for n in range(users))
    return "".join(lines).encode()


def seconds(work: Callable[[], object]) -> float:
    """CPU time, this process's own."""
    began = time.process_time()
    work()
    return time.process_time() - began


def rollup(field: str) -> int:
    """KiB of this process, of /proc/self/smaps_rollup."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(field))


def look_up(table: Table, names: list[str]) -> None:
    for name in names:
        table.answer(Query(name, "/srv/cgi/report.cgi", "localhost"))


def worker(table: Table, users: int) -> tuple[float, int, int]:
    """Microseconds of one lookup, and KiB of this process: its share and its own. The first round fills caches."""
    names = [f"user{random.randrange(users)}" for _ in range(LOOKUPS)]
    rounds = [seconds(lambda: look_up(table, names)) / LOOKUPS * 1e6 for _ in range(ROUNDS)]
    return statistics.median(rounds), rollup("Pss:"), rollup("Private_")


def forked(table: Table, users: int) -> list[tuple[float, int, int]]:
    """What WORKERS processes say, all of which live until the last has looked."""
    gc.freeze()  # as the supervisor does
    (answers, answer), (go, wait) = os.pipe(), os.pipe()
    for _ in range(WORKERS):
        if os.fork() == 0:
            os.close(wait)
            os.write(answer, (" ".join(map(str, worker(table, users))) + "\n").encode())
            os.read(go, 1)
            os._exit(0)
    os.close(answer)
    found = b""
    while found.count(b"\n") < WORKERS and (piece := os.read(answers, 4096)):
        found += piece
    os.close(wait)
    for descriptor in (answers, go):
        os.close(descriptor)
    for _ in range(WORKERS):
        os.wait()
    return [(float(a), int(b), int(c)) for a, b, c in (line.split() for line in found.decode().splitlines())]


def measure(users: int) -> None:
    """In a process of its own, so that no size leaves memory to the next."""
    pid = os.fork()
    if pid == 0:
        data = text_of(users)
        made: list[Table] = []
        loaded = seconds(lambda: made.append(Table([Index(data, "site.map")])))
        found = forked(made[0], users)
        lookup, pss, own = (statistics.median(column) for column in zip(*found, strict=True))
        row = (users, len(data) >> 10, f"{loaded:.3f}", f"{lookup:.1f}", f"{pss / 1024:.1f}", f"{own / 1024:.1f}")
        print(_ROW.format(*row), flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"{users} users: not measured")


def main() -> None:
    print(_ROW.format("users", "file, KiB", "read, s", "lookup, us", f"1 of {WORKERS}, MiB", "own, MiB"), flush=True)
    for users in SIZES:
        measure(users)


if __name__ == "__main__":
    main()
