"""What a zygote's child does to itself before it is a request's process, in processes of the test's own."""

import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from selcgi.zygote.frames import BORN, STUCK, decode_report
from tests.stack import TREE

# The words: rlimits, context, how much of the job arrives, the folder, whether its worker listens to the end.
BECOME = """
import os, socket, sys
from contextlib import suppress
sys.path.insert(0, sys.argv[1])
from selcgi.zygote.birth import Belongings, become
from selcgi.zygote.frames import Job, encode_job

class Binding:
    def setcon_raw(context):
        return bytearray(1 << 30)

rlimits, context, arriving, place, listens = eval(sys.argv[2])
ours, theirs = socket.socketpair()
ours.sendall(encode_job(Job((b"script",), {b"NAME": b"value"}, context, rlimits, None))[:arriving])
ours.shutdown(socket.SHUT_WR)
if not listens:
    ours.close()
streams = [os.open(os.devnull, os.O_RDWR) for _ in range(4)]
if os.fork() == 0:
    ours.close()
    folder = os.open(place, os.O_RDONLY)
    own = Belongings(*streams[:3], folder, streams[3], theirs.fileno() if place != "/dev/zero" else folder)
    os._exit(3 if become(own, Binding if context == "a context" else None) is not None else 4)
theirs.close()
with suppress(ConnectionResetError):  # it has not read its job
    while listens and (data := ours.recv(65536)):
        os.write(1, data)
code = os.waitstatus_to_exitcode(os.wait()[1])
sys.exit(0 if code == (3 if context == "" else 4) else f"the child ended with {code}")
"""
# The zygote is a child of this program: its clones are, too.
CLONE = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote.birth import clone_for

def wait():
    try:
        while os.wait():
            pass
    except ChildProcessError:
        return

said = []
Handler = ctypes.CFUNCTYPE(None)
handlers = [Handler(lambda name=name: said.append(name)) for name in ("prepare", "parent", "child")]
ctypes.CDLL(None).__register_atfork(*handlers, None)  # pthread_atfork() of glibc is made of it
hooks = {name: lambda name=name: said.append(name) for name in ("before", "after_in_parent", "after_in_child")}
os.register_at_fork(**hooks)
make = eval(sys.argv[2])
if os.fork() == 0:
    said.clear()
    place = sys.stdout if make() == 0 else sys.stderr
    print(*said, file=place, flush=True)
    wait()
    os._exit(0)
wait()
"""
NO_CGROUP = """
import os, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote.birth import clone_for
os.register_at_fork(after_in_parent=lambda: print("here"))
try:
    clone_for(os.open("/", os.O_PATH))
except OSError as error:
    print(error.strerror)
"""


def ran(program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-c", program, str(TREE), *words]
    return subprocess.run(line, capture_output=True, check=True, timeout=60)


def reports(rlimits: Any = (), context: str = "a context", arriving: int | None = None, folder: str = "/",
            listens: bool = True) -> list[list[str | int]]:  # fmt: skip
    """Of a child that comes to be a request's with context "" alone."""
    words = repr((rlimits, context, arriving, folder, listens))
    return [decode_report(line) for line in ran(BECOME, words).stdout.splitlines()]


@pytest.mark.parametrize(
    ("rlimit", "reason"),
    [
        ((resource.RLIMIT_NOFILE, (2, 1)), "current limit exceeds maximum limit"),
        ((resource.RLIMIT_NOFILE, (1 << 40, 1 << 40)), "not allowed to raise maximum limit"),
    ],
)
def test_a_limit_that_the_kernel_refuses_is_told(rlimit: Any, reason: str) -> None:
    fix = "a limit of the rule is refused by setrlimit(2) or setpriority(2)"
    assert reports((rlimit,)) == [[BORN], [STUCK, "set_limits", f"set_limits failed: {reason}", fix]]


def test_that_no_memory_is_left_is_told() -> None:
    born, (name, step, reason, fix) = reports(((resource.RLIMIT_AS, (1 << 28, 1 << 28)),))
    assert (born, name, step) == ([BORN], STUCK, "set_limits")
    assert str(reason).startswith("no memory is left for the warm interpreter's child")
    assert "raise memory=" in str(fix)


def test_one_that_takes_its_request_says_no_more() -> None:
    assert reports(context="") == [[BORN]]


@pytest.mark.parametrize("arriving", [0, 3, 4, -1])
def test_a_job_that_is_not_whole_is_not_begun(arriving: int) -> None:
    """Its worker has given the request up: it asks for no reason."""
    assert reports(arriving=arriving) == [[BORN]]


def test_one_that_can_not_enter_its_folder_says_so() -> None:
    reason = "a warm interpreter's child failed: [Errno 20] Not a directory"
    assert reports(folder=os.devnull) == [[BORN], [STUCK, "zygote", reason, ""]]


def test_a_context_without_a_binding_of_libselinux_is_not_passed_over() -> None:
    reason = "the warm interpreter has no binding of libselinux"
    assert reports(context="another context") == [[BORN], [STUCK, "enter_context", reason, ""]]


@pytest.mark.parametrize("folder", [os.devnull, "/dev/zero"])
def test_one_that_nobody_hears_ends_all_the_same(folder: str) -> None:
    """Its worker is gone, or a hook for forks has put something else where its channel was."""
    assert reports(folder=folder, listens=False) == []


@pytest.mark.parametrize(
    ("make", "in_child", "in_parent"),
    [
        ("os.fork", b"before prepare child after_in_child\n", b"before prepare parent after_in_parent\n"),
        ("lambda: clone_for(-1)", b"before after_in_child\n", b"before after_in_parent\n"),
    ],
)
def test_pythons_hooks_of_a_fork_are_run_and_those_of_libraries_are_not(
    make: str, in_child: bytes, in_parent: bytes
) -> None:
    """contrib/WARM.md says so, and what that means."""
    done = ran(CLONE, make)
    assert (done.stdout, done.stderr) == (in_child, in_parent)


def test_without_a_cgroup_to_be_born_in_there_is_no_process() -> None:
    assert ran(NO_CGROUP).stdout == b"here\nBad file descriptor\n"
