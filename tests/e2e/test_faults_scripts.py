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
    rule: str = ""  # what else the user's rule says


CORE = SH + "cd $CGI_MARKS; ulimit -c unlimited; echo $(ulimit -c) > limit\n"
BOMB = """
while True:
    try:
        os.fork()
    except BlockingIOError:
        time.sleep(0.01)
"""
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
    "fork-bombs, with processes=20": Fault(
        PYTHON + BOMB,
        504,
        WHOLE,
        {"step": "total", "exit": "signal 15"},
        "the total deadline",
        "timeout=",
        (SOON,),
        rule="uid=games processes=20",
    ),
    "takes more memory than memory=64M": Fault(
        PYTHON + "x = bytes(1 << 30)",
        502,
        WHOLE,
        {"step": "response", "exit": "1"},
        "the script wrote nothing",
        "stderr",
        rule="memory=64M",
    ),
    "can't even start with memory=1M": Fault(
        SH + HEAD, 502, WHOLE, {"step": "response"}, "was ended by SIG", rule="memory=1M"
    ),
    "computes for longer than cpu=1": Fault(
        SH + "while :; do :; done",
        502,
        WHOLE,
        {"step": "limit", "exit": "signal 24"},
        "used more than cpu=1 seconds",
        "raise cpu= in site.map:1",
        rule="cpu=1",
    ),
    "writes a file longer than file-size=64K": Fault(
        SH + "exec head -c 100000 /dev/zero > $CGI_MARKS/long",
        502,
        WHOLE,
        {"step": "limit", "exit": "signal 25"},
        "a file longer than file-size=65536",
        "raise file-size= in site.map:1",
        rule="file-size=64K",
    ),
}


_OUTPUTS = {
    "at once": ("", 502, WHOLE),
    "within its head": ("printf 'Content-Type: text'", 502, WHOLE),
    "after its head": (HEAD + "echo some", 200, BROKEN),
    "before its Content-Length": ("printf 'Content-Length: 9\\n\\n'; echo some", 200, BROKEN),
    "after its Content-Length": ("printf 'Content-Length: 5\\n\\n'; printf whole", 200, WHOLE),
}
_FIXES = {"SIGSEGV": "stderr", "SIGKILL": "oom killer", "SIGXCPU": "raise cpu="}


def death(name: str, when: str) -> Fault:
    output, status, complete = _OUTPUTS[when]
    whole = "whole" in output
    said = {"step": "" if whole else "response", "exit": f"signal {signal.Signals[name]}", "killed_by": ""}
    reason, fix = ("", "") if whole else (f"was ended by {name}", _FIXES[name])
    return Fault(SH + f"{output}\nkill -{name} $$", status, complete, said, reason, fix)


DEATHS = {f"dies by {name} {when}": death(name, when) for name in _FIXES for when in _OUTPUTS}


def check(serve: Serve, place: Place, way: str, fault: Fault) -> None:
    place.rules(f"alice user_webapp_t:s0 {fault.rule}", "__anonymous__ anon_webapp_t")
    path = place.script("fault.cgi", fault.text + "\n")
    selcgi = serve(way, "--kill-grace=0.3", f"--spool={place.folder}", *fault.options)
    with leaving_nothing(selcgi, place, way):
        answer = ask(selcgi.socket, Ask(path, "alice", body=fault.body))
        assert outcome(answer) == (fault.status, fault.complete)
        entry = last_entry(selcgi)
        assert {name: entry[name] for name in fault.said} == fault.said
        assert entry["status"] == fault.status
        assert fault.reason in entry.get("reason", "")
        assert fault.fix in entry.get("fix", "")


@pytest.mark.parametrize("name", FAULTS)
def test_a_script_that(serve: Serve, place: Place, way: str, name: str) -> None:
    check(serve, place, way, FAULTS[name])


@pytest.mark.parametrize("name", DEATHS)
def test_a_script_that_dies(serve: Serve, place: Place, way: str, name: str) -> None:
    check(serve, place, way, DEATHS[name])


def test_a_script_that_dumps_core(serve: Serve, place: Place, way: str) -> None:
    """None is left, however much the script wants one and wherever the system would put it."""
    check(serve, place, way, Fault(CORE + "kill -ABRT $$", 502, WHOLE, {"exit": "signal 6"}))
    assert [path.name for path in place.marks.iterdir()] == ["limit"]
    assert (place.marks / "limit").read_text() == "0\n"
