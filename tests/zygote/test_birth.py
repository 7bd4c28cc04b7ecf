"""What a zygote's child does to itself before it is a request's process, in processes of the test's own."""

import resource
import subprocess
import sys
from typing import Any

import pytest

from selcgi.zygote.frames import BORN, STUCK, decode_report
from tests.stack import TREE

BECOME = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote.birth import Belongings, become
from selcgi.zygote.frames import Job, encode_job

class Binding:
    def setcon_raw(context):
        return bytearray(1 << 30)

ours, theirs = socket.socketpair()
ours.sendall(encode_job(Job((b"script",), {}, "a context", eval(sys.argv[2]), None)))
streams = [os.open(os.devnull, os.O_RDWR) for _ in range(4)]
if os.fork() == 0:
    ours.close()
    folder = os.open("/", os.O_RDONLY)
    os._exit(become(Belongings(*streams[:3], folder, streams[3], theirs.fileno()), Binding) is not None)
theirs.close()
while data := ours.recv(65536):
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
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
os.register_at_fork(after_in_child=lambda: said.append("Python"))
make = eval(sys.argv[2])
if os.fork() == 0:
    said.clear()
    if make() == 0:
        print(*said, flush=True)
    wait()
    os._exit(0)
wait()
"""


def ran(program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-c", program, str(TREE), *words]
    return subprocess.run(line, capture_output=True, check=True, timeout=60)


def reports(rlimits: Any) -> list[list[str | int]]:
    """Of a child that is no request's."""
    return [decode_report(line) for line in ran(BECOME, repr(rlimits)).stdout.splitlines()]


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


@pytest.mark.parametrize(
    ("make", "said"), [("os.fork", b"prepare child Python\n"), ("lambda: clone_for(-1)", b"Python\n")]
)
def test_pythons_hooks_of_a_fork_are_run_and_those_of_libraries_are_not(make: str, said: bytes) -> None:
    """contrib/WARM.md says so, and what that means."""
    assert ran(CLONE, make).stdout == said
