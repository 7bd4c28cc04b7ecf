"""Scripts that misbehave: what the client gets, what the log says, and that nothing of them is left.

One row a fault, each with a cgroup and with a guard. `python` and `sh` scripts run as nobody; SIGTERM is followed by
SIGKILL after 0.3 s, and every deadline that a row names is short.
"""

import signal
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.faults import last_entry, leaving_nothing, outcome
from tests.stack import Ask, ask

HEAD = "printf 'Content-Type: text/plain\\n\\n'\n"
SH = "#!/bin/bash\n"
PYTHON = "#!/usr/bin/python3\nimport os, signal, sys, time\n"
SOON = "--timeout=1"
WHOLE, BROKEN = True, False


@dataclass(frozen=True)
class Fault:
    """`said` are fields of the log line; `reason` and `fix` must be in its sentence."""

    text: str
    status: int
    complete: bool
    said: dict[str, str]
    reason: str = ""
    fix: str = ""
    options: tuple[str, ...] = ()
    body: bytes | None = None


FAULTS = {
    "never reads": Fault(SH + HEAD + "echo ok", 200, WHOLE, {"exit": "0", "step": ""}, body=bytes(1 << 20)),
    "never reads and hangs": Fault(
        SH + "exec sleep 1000",
        504,
        WHOLE,
        {"step": "total", "killed_by": "total", "exit": "signal 15"},
        "the total deadline of 1 s passed",
        "timeout=",
        (SOON,),
        bytes(1 << 20),
    ),
    "never writes": Fault(
        SH + "exec sleep 1000",
        504,
        WHOLE,
        {"step": "first-byte", "killed_by": "first-byte", "exit": "signal 15"},
        "the first-byte deadline",
        "first-byte-timeout=",
        ("--first-byte-timeout=1",),
    ),
    "writes nothing and ends": Fault(
        SH + "exit 3", 502, WHOLE, {"step": "response", "exit": "3"}, "wrote nothing", "stderr"
    ),
    "closes stdout before its head and lives on": Fault(
        SH + "exec >&-; sleep 1000",
        504,
        WHOLE,
        {"step": "total", "exit": "signal 15"},
        "the total deadline",
        "timeout=",
        (SOON,),
    ),
    "closes stdout after its head and lives on": Fault(
        SH + HEAD + "exec >&-; sleep 1000",
        200,
        BROKEN,
        {"step": "total", "killed_by": "total", "exit": "signal 15"},
        "the total deadline",
        "timeout=",
        (SOON,),
    ),
    "exits while a child holds stdout": Fault(
        SH + HEAD + "sleep 1000 & echo ok", 200, WHOLE, {"exit": "0", "step": ""}
    ),
    "double-forks with setsid": Fault(
        SH + HEAD + "(setsid setsid sleep 1000 &) ; (setsid bash -c '(setsid sleep 1000 >&- 2>&- &)' &) ; echo ok",
        200,
        WHOLE,
        {"exit": "0", "step": ""},
    ),
    "traps TERM": Fault(
        SH + "trap '' TERM; while :; do sleep 1; done",
        504,
        WHOLE,
        {"step": "total", "killed_by": "total", "exit": "signal 9"},
        "the total deadline",
        "timeout=",
        (SOON,),
    ),
    "stops itself": Fault(
        SH + "kill -STOP $$; " + HEAD,
        504,
        WHOLE,
        {"step": "total", "killed_by": "total", "exit": "signal 9"},
        "the total deadline",
        "timeout=",
        (SOON,),
    ),
    "stops all its processes": Fault(
        SH + "sleep 1000 & (setsid bash -c 'kill -STOP $$') & kill -STOP 0",
        504,
        WHOLE,
        {"step": "total", "exit": "signal 9"},
        "the total deadline",
        "timeout=",
        (SOON,),
    ),
    "writes a head of 1 MB without an end": Fault(
        PYTHON + "sys.stdout.write('X-Long: ' + 'x' * 1048576)\nsys.stdout.flush()\ntime.sleep(1000)",
        502,
        WHOLE,
        {"step": "response", "killed_by": "response", "exit": "signal 9"},
        "the head is longer than 32768 bytes",
        "empty line",
    ),
}


CORE = SH + "cd $CGI_MARKS; ulimit -c unlimited; echo $(ulimit -c) > limit\n"
BOMB = (
    PYTHON
    + """
while True:
    try:
        os.fork()
    except BlockingIOError:
        time.sleep(0.01)
"""
)


def check(serve: Serve, place: Place, way: str, fault: Fault, user: str = "alice") -> None:
    path = place.script("fault.cgi", fault.text + "\n")
    selcgi = serve(way, "--kill-grace=0.3", f"--spool={place.folder}", *fault.options)
    with leaving_nothing(selcgi, place, way):
        answer = ask(selcgi.socket, Ask(path, user, body=fault.body))
        assert outcome(answer) == (fault.status, fault.complete)
        entry = last_entry(selcgi)
        assert {name: entry[name] for name in fault.said} == fault.said
        assert entry["status"] == fault.status
        assert fault.reason in entry.get("reason", "")
        assert fault.fix in entry.get("fix", "")


@pytest.mark.parametrize("name", FAULTS)
def test_a_script_that(serve: Serve, place: Place, way: str, name: str) -> None:
    check(serve, place, way, FAULTS[name])


@pytest.mark.parametrize("signum", ["SEGV", "KILL", "XCPU"])
@pytest.mark.parametrize(
    ("head", "status", "complete"),
    [
        ("", 502, WHOLE),
        ("printf 'Content-Type: text'", 502, WHOLE),
        (HEAD + "echo some", 200, BROKEN),
        ("printf 'Content-Length: 9\\n\\n'; echo some", 200, BROKEN),
        ("printf 'Content-Length: 5\\n\\n'; printf whole", 200, WHOLE),
    ],
    ids=["at once", "within its head", "after its head", "before its length", "after its length"],
)
def test_a_script_that_dies(
    serve: Serve, place: Place, way: str, signum: str, head: str, status: int, complete: bool
) -> None:
    number = signal.Signals[f"SIG{signum}"]
    said = {"step": "response" if "whole" not in head else "", "exit": f"signal {number}", "killed_by": ""}
    reason = "" if "whole" in head else f"was ended by SIG{signum}"
    check(serve, place, way, Fault(SH + head + f"\nkill -{signum} $$", status, complete, said, reason))


def test_a_script_that_dumps_core(serve: Serve, place: Place, way: str) -> None:
    """None is left, however much the script wants one and wherever the system would put it."""
    check(serve, place, way, Fault(CORE + "kill -ABRT $$", 502, WHOLE, {"exit": "signal 6"}))
    assert [path.name for path in place.marks.iterdir()] == ["limit"]
    assert (place.marks / "limit").read_text() == "0\n"


def test_a_script_that_fork_bombs_within_its_limits(serve: Serve, place: Place, way: str) -> None:
    place.rules("alice user_webapp_t:s0 uid=games processes=20", "__anonymous__ anon_webapp_t")
    check(serve, place, way, Fault(BOMB, 504, WHOLE, {"step": "total", "exit": "signal 15"}, options=(SOON,)))


@pytest.mark.parametrize(
    ("limit", "text", "said"),
    [
        ("memory=64M", PYTHON + "x = bytes(1 << 30)", {"exit": "1"}),
        ("memory=1M", SH + HEAD, {}),
        ("cpu=1", SH + "while :; do :; done", {"exit": "signal 24"}),
    ],
)
def test_a_script_that_meets_a_limit_of_its_rule(
    serve: Serve, place: Place, way: str, limit: str, text: str, said: dict[str, str]
) -> None:
    place.rules(f"alice user_webapp_t:s0 {limit}", "__anonymous__ anon_webapp_t")
    check(serve, place, way, Fault(text, 502, WHOLE, {"step": "response", **said}))
