"""A process's own memory, of a real process: it grows with what that process writes, and not with what it shares."""

import mmap
import os
import subprocess

from selcgi.system.memory import private_bytes

MIB = 1 << 20


def test_what_a_process_writes_is_its_own() -> None:
    before = private_bytes(os.getpid())
    assert before is not None
    with mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = b"x" * len(memory)
        after = private_bytes(os.getpid())
        assert after is not None
        assert after - before > 60 * MIB
        child = os.fork()
        if child == 0:
            own = private_bytes(os.getpid())
            os._exit(0 if own is not None and own < 60 * MIB else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_that_is_gone() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        child.wait()
    assert private_bytes(child.pid) is None
