"""What a request costs selcgi itself, stage by stage, in microseconds of CPU: the middle of many rounds.

Runs in one process without sockets or scripts, but for the launch, which starts the smallest program there is.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from selcgi.launch.cold import Launcher
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.table import Query, Table
from selcgi.plan import Limits, Plan
from selcgi.settings import EnvironRules, WireLimits
from selcgi.system.executable import find_interpreter
from selcgi.system.familiar import Familiar
from selcgi.system.roots import open_roots
from selcgi.system.scripts import open_script
from selcgi.system.selinux import open_labels
from selcgi.wire.connection import Connection
from selcgi.wire.environ import environ, read_request
from selcgi.wire.records import Kind, decode_pairs, encode_pairs, encode_record, encode_stream
from selcgi.wire.response import HeadReader
from tests.stack import Ask

ROUNDS, TIMES = 15, 200
SCRIPT = b"/usr/bin/true"
SHELL = b"#!/bin/sh\n"


def cost(work: Callable[[], object], times: int = TIMES) -> float:
    """CPU microseconds of one call, this process's own."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) / times * 1e6)
    return statistics.median(rounds)


def main() -> None:
    pairs = Ask(SCRIPT.decode(), "alice", params={f"HTTP_X_{n}": "value" for n in range(15)}).pairs()
    data = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, *[0] * 6))) + encode_stream(
        Kind.PARAMS, 1, encode_pairs(pairs)
    )
    data += encode_record(Kind.PARAMS, 1, b"") + encode_record(Kind.STDIN, 1, b"")
    request = read_request(decode_pairs(encode_pairs(pairs), 1000))
    text = "".join(f"user{n} user_webapp_t:s0:c{n % 1000}\n" for n in range(10_000)) + "alice a_t:s0\n"
    mapping = Chain([Table([Index(text.encode(), "x")])])
    roots, labels = open_roots([Path("/usr/bin")]), open_labels("off")
    launcher = Launcher(labels, None)
    located = open_script((SCRIPT,), roots, labels.file_label)
    plan = Plan(located.script, (SCRIPT,), {}, labels.resolve(next(mapping.specs())[0]), Limits(), empty_body=True)

    def launch() -> None:
        running = launcher.launch(plan)
        running.kill()
        while not running.gone:
            running.poll()
        running.close()
        os.close(running.stdout)
        os.close(running.stderr)

    familiar = Familiar(roots, labels.file_label)
    familiar.open((SCRIPT,)).close()

    def open_and_close() -> None:
        open_script((SCRIPT,), roots, labels.file_label).script.close()

    limits = WireLimits()
    stages: dict[str, Callable[[], object]] = {
        "wire: bytes to params": lambda: Connection(limits).receive_data(data),
        "params to request": lambda: read_request(pairs),
        "mapping, 10,001 rules": lambda: mapping.decide(Query("alice", "/usr/bin/true", "localhost")),
        "script opened and checked": open_and_close,
        "the same, a moment later": lambda: familiar.open((SCRIPT,)).close(),
        "its interpreter checked": lambda: find_interpreter(SHELL, "x.cgi", roots.all[0].owners, labels.file_label),
        "environment": lambda: environ(request, SCRIPT, b"", EnvironRules(), "/"),
        "response head": lambda: HeadReader(16384).feed(b"Content-Type: text/plain\nX-A: b\n\nhello\n"),
    }
    for name, work in stages.items():
        print(f"{name:<28} {cost(work):7.1f} us")
    print(f"{'launch and end, by a guard':<28} {cost(launch, 10):7.1f} us")


if __name__ == "__main__":
    main()
