"""A warm start beside a cold one: what the kernel and the interpreter say of the two processes is the same."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import USER, Place, Serve
from tests.stack import PROGRAM, Ask, Selcgi, ask

RULE = "* user_webapp_t:s0 memory=3G cpu=30s processes=3000 files=200 file-size=7M nice=7"
# All that is not known to be measured, or a name of this one process.
SCRIPT = """#!/usr/bin/python3 -B
import ctypes, fcntl, gc, json, locale, os, re, resource, signal, stat, sys, threading, time, warnings

OWN = "Name|State|Tgid|Ngid|Pid|PPid|FDSize|NS.*|Vm.*|Rss.*|HugetlbPages|SigQ|.*ctxt_switches"
FILES = ("autogroup", "coredump_filter", "oom_score_adj", "timerslack_ns", "personality", "loginuid", "sessionid",
         "limits", "uid_map", "gid_map", "setgroups", "comm", "cmdline", "environ")
SYS = ("argv", "orig_argv", "path", "flags", "executable", "prefix", "exec_prefix", "base_prefix", "_base_executable",
       "warnoptions", "_xoptions", "dont_write_bytecode", "pycache_prefix", "meta_path", "path_hooks", "platlibdir")
# prctl(2): PDEATHSIG, DUMPABLE, UNALIGN, KEEPCAPS, TIMING, SECCOMP, TSC, SECUREBITS, TIMERSLACK, MCE_KILL,
# CHILD_SUBREAPER, NO_NEW_PRIVS, THP_DISABLE, IO_FLUSHER, MDWE
INTO = {2: True, 5: True, 25: True, 37: True}
ASKED = (2, 3, 5, 7, 13, 21, 25, 27, 30, 34, 37, 39, 42, 58, 66)
LIBC = ctypes.CDLL(None, use_errno=True)

def read(name):
    try:
        with open(f"/proc/self/{name}") as file:
            text = file.read()
    except OSError as error:
        return error.strerror
    return re.sub("^/autogroup-[0-9]+", "", text)

def control(option):
    value = ctypes.c_int()
    found = LIBC.prctl(option, ctypes.byref(value) if option in INTO else 0, 0, 0, 0)
    return [found, value.value]

def descriptors():
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            if "libffi" in os.readlink(f"/proc/self/fd/{number}"):
                continue  # by itself it leaves that to each program that is executed
            yield [number, stat.S_IFMT(os.fstat(number).st_mode), *[fcntl.fcntl(number, get) for get in (1, 3)]]
        except OSError:  # the one that has listed them
            continue

def tty():
    try:
        return os.open("/dev/tty", os.O_RDWR)
    except OSError as error:
        return error.strerror

def clock():
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(threading.get_ident())) > 0
    except OSError as error:  # glibc takes the thread for another
        return error.strerror

def stream(one):
    kept = "encoding errors line_buffering write_through newlines name mode closed".split()
    return [repr(getattr(one, name)) for name in kept] + [one.seekable(), repr(one.buffer)]

altstack = ctypes.create_string_buffer(64)
LIBC.sigaltstack(None, altstack)
status = dict(line.split(":", 1) for line in read("status").splitlines())
# posix_spawn(3) of glibc has the two signals that it keeps for itself (nptl(7)) ignored in what it starts.
status["SigIgn"] = hex(int(status["SigIgn"], 16) & ~(3 << 31))
print("Content-Type: application/json\\n")
shown = json.dumps({
    "descriptors": list(descriptors()),
    **{name: value.strip() for name, value in status.items() if not re.fullmatch(OWN, name)},
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "worker": os.getppid(),
    "tty": tty(),
    "folder": os.getcwd(),
    **{name: read(name) for name in FILES},
    "cgroup": read("cgroup"),
    "namespaces": [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))],
    "root": os.readlink("/proc/self/root"),
    "exe": os.readlink("/proc/self/exe"),
    "scheduler": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, sorted(os.sched_getaffinity(0))],
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "ioprio": LIBC.syscall(252, 1, 0),
    **{f"prctl {option}": control(option) for option in ASKED},
    "secure": LIBC.getauxval(23),
    "altstack": altstack.raw[8:12].hex(),
    "timers": [signal.getitimer(timer) for timer in range(3)],
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "variables": dict(os.environ),
    "threads": [threading.main_thread().name, threading.main_thread().native_id == os.getpid(),
                threading.current_thread() is threading.main_thread(), threading.active_count()],
    "clock of the thread": clock(),
    **{f"sys.{name}": repr(getattr(sys, name)) for name in SYS},
    "streams": [stream(one) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "limits of Python": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), gc.isenabled()],
    "handlers": [repr(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "wakeup": signal.set_wakeup_fd(-1),
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "warnings": repr(warnings.filters),
    "locale": [locale.setlocale(locale.LC_ALL), time.tzname, sys.getfilesystemencoding()],
    "names": sorted(globals()),
})
print(re.sub("0x[0-9a-f]+", "0x", shown))
"""
Start = Callable[[], Selcgi]


@pytest.fixture(params=["another account", "its own account"])
def start(request: pytest.FixtureRequest, place: Place, cgroup: Path) -> Start:
    """Both ways into the request's cgroup: a child is moved there when its account is another than selcgi's, else it is
    born there."""
    options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--workers=1", f"--cgroup={cgroup}")
    if request.param == "another account":
        return lambda: Selcgi(place.folder, *options, f"--script-user={USER}")
    run = place.folder / "run"
    run.mkdir()
    for path in (run, cgroup, *cgroup.glob("cgroup.*")):
        shutil.chown(path, USER)
    # It need not read where the tests have their packages, but for this.
    words = ("setpriv", f"--reuid={USER}", "--clear-groups", "--inh-caps=+dac_read_search")
    enter = ("sh", "-c", f'echo 0 > {cgroup}/cgroup.procs && exec "$0" "$@"')
    return lambda: Selcgi(run, *options, program=(*enter, *words, "--ambient-caps=+dac_read_search", *PROGRAM))


def shown(start: Start, place: Place, body: bytes, warm: str) -> dict[str, Any]:
    place.rules(f"{RULE} {warm}")
    script = place.script("show.cgi", SCRIPT)
    with start() as selcgi:
        answer = ask(selcgi.socket, Ask(script, "alice", body=body))
        assert answer.status == 200, selcgi.log() + answer.stderr.decode()
        assert answer.body, answer.stderr.decode()
        found: dict[str, Any] = json.loads(answer.body)
        assert selcgi.entry().get("launch", "cold") == ("warm" if warm else "cold")
        worker = found.pop("worker")
        assert [worker] == selcgi.workers()
        zygotes = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        assert found["cgroup"] not in [Path(f"/proc/{pid}/cgroup").read_text() for pid in (worker, *zygotes)]
    return {**found, "cgroup": re.sub("leaf-[0-9]+", "leaf", found["cgroup"])}


@pytest.mark.parametrize("body", [b"", b"of the request"])
def test_a_warm_start_is_what_a_cold_one_is(start: Start, place: Place, body: bytes) -> None:
    cold, warm = shown(start, place, body, ""), shown(start, place, body, "warm=yes")
    differing = {name: (cold[name], warm[name]) for name in cold if cold[name] != warm[name]}
    assert list(differing) == ["cmdline", "environ"], differing


KEEPS = "import _ctypes, os\nnumber = os.open(_ctypes.__file__, os.O_RDONLY)\n"
TELLS = """#!/usr/bin/python3
import _ctypes, os, keeps
print("Content-Type: text/plain\\n")
print(os.readlink(f"/proc/self/fd/{keeps.number}") == _ctypes.__file__, os.lseek(keeps.number, 0, os.SEEK_CUR))
os.lseek(keeps.number, 7, os.SEEK_SET)
"""


def test_a_file_of_code_that_a_library_keeps_open_is_each_ones_own(place: Place, serve: Serve, cgroup: Path) -> None:
    """As libffi does from 3.5 on: see zygote/trampolines.py."""
    place.rules("* user_webapp_t:s0 warm=yes")
    script = place.script("tells.cgi", TELLS)
    modules = place.folder / "modules"
    modules.mkdir()
    (modules / "keeps.py").write_text(KEEPS)
    with serve(f"--cgroup={cgroup}", "--preload=keeps", f"--env=PYTHONPATH={modules}") as selcgi:
        assert [ask(selcgi.socket, Ask(script, "alice")).text for _ in range(2)] == ["True 0\n"] * 2, selcgi.log()
