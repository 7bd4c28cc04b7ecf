"""What one request costs its worker: CPU time, system calls, Python calls. The scripts' own cost is not in it.

One worker, as the supervisor makes it, with a delegated cgroup, for eight kept connections that ask for a small static
program. The first figure is taken without anything attached, against a bare posix_spawn(3) of the same program in a
process that has the same modules; the calls are counted in runs of their own. As root, with gcc and strace.
"""

import argparse
import contextlib
import importlib
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selcgi.launch.cold import Launcher
from selcgi.serve.accesslog import Entry
from selcgi.serve.admission import Admission
from selcgi.serve.board import Board
from selcgi.serve.denials import Denials
from selcgi.serve.log import LineHandler, Lines
from selcgi.serve.lookups import Lookups, from_here
from selcgi.serve.means import Means
from selcgi.serve.share import Share
from selcgi.serve.site import open_site
from selcgi.serve.worker import Listener, Worker, run_worker
from selcgi.settings import ListenerSettings, Settings
from selcgi.system.cgroups import open_tree
from selcgi.system.familiar import _SETTLED_NS
from selcgi.system.selinux import open_labels
from tests.bench.asking import Client, question
from tests.bench.contestants import RULES
from tests.bench.place import delegated
from tests.bench.scripts import HELLO_C

WARM = 400  # requests before the figures begin


@dataclass(frozen=True)
class Place:
    """Where a worker's script, rules and socket are."""

    folder: Path
    cgroup: Path

    @property
    def script(self) -> Path:
        return self.folder / "cgi" / "c.cgi"


@contextlib.contextmanager
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="selcgi-bench-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "cgi").mkdir(mode=0o755)
        (folder / "c.c").write_text(HELLO_C)
        (folder / "site.map").write_text(RULES)
        with delegated() as cgroup:
            found = Place(folder, cgroup)
            subprocess.run(["gcc", "-O2", "-static", "-o", found.script, folder / "c.c"], check=True)
            time.sleep(_SETTLED_NS / 1e9 + 0.5)  # a script is kept open from then on
            yield found
    finally:
        shutil.rmtree(folder)


def become_worker(where: Place, listening: socket.socket) -> None:
    """Serve until SIGTERM, as user nobody."""
    (where.cgroup / "start" / "cgroup.procs").write_text("0")
    account = pwd.getpwnam("nobody")
    os.setgroups(())
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    logging.getLogger("selcgi").setLevel(logging.INFO)
    log = os.open(where.folder / "log", os.O_WRONLY | os.O_APPEND)
    handler = LineHandler(log, Lines(as_json=False))
    logging.getLogger().addHandler(handler)
    listener = ListenerSettings(f"unix:{where.folder}/socket")
    settings = Settings(maps=(where.folder / "site.map",), roots=(where.folder / "cgi",), listeners=(listener,),
                        selinux="off", spool=Path("/var/tmp"), cgroup=str(where.cgroup))  # fmt: skip
    site = open_site(settings, open_labels("off"), Entry.write)
    tree = open_tree(settings.cgroup)
    assert tree is not None
    board = Board(1)
    launcher, admission = Launcher(site.labels, tree.leaves(0)), Admission(board, 0, settings)
    page = board.pages[0]
    denials = Denials(None, site.labels, page.denials)
    means = Means(
        launcher, admission, page.tally, board.probe, Lookups(from_here), denials, page.zygotes, Share(board, 0)
    )
    listening.setblocking(False)
    run_worker(site, (Listener(listening, listener),), means, -1)


@contextlib.contextmanager
def worker(
    where: Place, around: Callable[[Callable[[], None]], None] = lambda work: work()
) -> Iterator[tuple[int, str]]:
    """Its pid, and where it listens. `around` is called in it, with its work."""
    path = str(where.folder / "socket")
    (where.folder / "log").touch(mode=0o666)
    (where.folder / "log").chmod(0o666)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        with contextlib.suppress(ImportError):  # before the change of user, who may not read it
            importlib.import_module("uvloop")
        pid = os.fork()
        if pid == 0:
            try:
                around(lambda: become_worker(where, listening))
            finally:
                os._exit(1)
    try:
        yield pid, path
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        Path(path).unlink()


def cpu_seconds(pid: int) -> float:
    """Of one process, in user and kernel mode (proc_pid_schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def cpu(where: Place, requests: int, rounds: int) -> list[dict[str, float]]:
    rows = []
    with worker(where) as (pid, path):
        client = Client(path, question(where.script))
        client.ask(WARM)
        for _ in range(rounds):
            before, began = cpu_seconds(pid), time.perf_counter()
            took = sorted(client.ask(requests))
            rows.append({
                "cpu_us": (cpu_seconds(pid) - before) / requests * 1e6,
                "per_s": requests / (time.perf_counter() - began),
                "p50_ms": took[len(took) // 2] * 1e3,
                "p99_ms": took[len(took) * 99 // 100] * 1e3,
            })  # fmt: skip
        client.close()
    return rows


def spawn_us(where: Place, times: int) -> float:
    """CPU microseconds of this process for a bare start of the script, and taking its output and its end."""
    began = time.process_time()
    for _ in range(times):
        output, theirs = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, theirs, 1), (os.POSIX_SPAWN_DUP2, theirs, 2)]
        pid = os.posix_spawn(where.script, [b"c"], {}, file_actions=actions, setsid=True, setsigmask=())
        os.close(theirs)
        os.close(null)
        while os.read(output, 65536):
            pass
        os.close(output)
        os.waitpid(pid, 0)
    return (time.process_time() - began) / times * 1e6


def system_calls(where: Place, requests: int) -> Counter[str]:
    """How many of each name a request takes, by strace -c of the worker alone, in hundredths."""
    with worker(where) as (pid, path):
        client = Client(path, question(where.script))
        client.ask(WARM)
        output = where.folder / "strace"
        tracer = subprocess.Popen(
            ["strace", "-c", "-U", "calls,name", "-o", output, "-p", str(pid)], stderr=subprocess.PIPE
        )
        assert tracer.stderr is not None
        tracer.stderr.readline()  # "attached"
        client.ask(requests)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        client.close()
    rows = [line.split() for line in output.read_text().splitlines()]
    return Counter(
        {
            row[1]: round(int(row[0]) * 100 / requests)
            for row in rows
            if len(row) == 2 and row[0].isdigit() and row[1] != "total"
        }
    )


def python_calls(where: Place, requests: int) -> Counter[str]:
    """How often a request calls each function, Python's and C's, in hundredths."""
    result = where.folder / "calls"
    result.touch(mode=0o666)
    result.chmod(0o666)

    def counted(work: Callable[[], None]) -> None:
        seen: Counter[Any] = Counter()

        def profile(frame: Any, event: str, arg: Any) -> None:
            if event == "call":
                seen[frame.f_code] += 1
            elif event == "c_call":
                seen[arg.__qualname__] += 1

        at_once = Worker.serve

        async def serve(self: Worker) -> None:
            self.loop.add_signal_handler(signal.SIGALRM, lambda: sys.setprofile(profile))
            await at_once(self)

        Worker.serve = serve  # type: ignore[method-assign]
        work()
        sys.setprofile(None)
        found: Counter[str] = Counter()
        for key, count in seen.items():
            name = f"C {key}" if isinstance(key, str) else f"{Path(key.co_filename).name}:{key.co_qualname}"
            found[name] += count
        result.write_text(json.dumps(found))
        os._exit(0)

    with worker(where, counted) as (pid, path):
        client = Client(path, question(where.script))
        client.ask(WARM)
        os.kill(pid, signal.SIGALRM)
        time.sleep(0.2)
        client.ask(requests)
        client.close()
    return Counter({name: round(count * 100 / requests) for name, count in json.loads(result.read_text()).items()})


def show(title: str, counts: Counter[str], rows: int) -> None:
    print(f"{title}: {counts.total() / 100:.1f} a request")
    for name, count in counts.most_common(rows):
        if count >= 5:
            print(f"  {count / 100:6.2f}  {name}")


def show_cpu(rows: list[dict[str, float]], bare: float) -> None:
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    rounds = " ".join(f"{row['cpu_us']:.0f}" for row in rows)
    print(
        f"CPU of the worker: {middle['cpu_us']:.0f} us a request (rounds: {rounds}); a bare spawn takes {bare:.0f} us"
    )
    print(f"{middle['per_s']:.0f} requests/s of one worker, p50 {middle['p50_ms']:.2f}, p99 {middle['p99_ms']:.2f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="request", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0, help="of each table of calls")
    parser.add_argument("--only", choices=("cpu", "system", "python"))
    values = parser.parse_args()
    with place() as where:
        if values.only in (None, "cpu"):
            show_cpu(
                cpu(where, values.requests, values.rounds), statistics.median(spawn_us(where, 300) for _ in range(5))
            )
        if values.only in (None, "system"):
            show("system calls", system_calls(where, 500), values.rows)
        if values.only in (None, "python"):
            calls = python_calls(where, 500)
            ours = Counter({name: count for name, count in calls.items() if not name.startswith("C ")})
            show("Python functions", ours, values.rows)
            show("C functions", calls - ours, values.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
