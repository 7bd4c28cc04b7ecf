"""A file that a library executes code from and keeps open, in the child of a process that has one.

Of a file of the test's own, whatever libffi is here; and of libffi, which has one from 3.5 on.
"""

import subprocess
import sys

from tests.stack import TREE

BEGIN = """
import _ctypes, ctypes, os, socket, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote import trampolines
from selcgi.zygote.birth import Belongings, become
from selcgi.zygote.frames import Job, encode_job

def child(script, kept):
    ours, theirs = socket.socketpair()
    ours.sendall(encode_job(Job((b"script",), {}, "", (), None)))
    streams = [os.dup(number) for number in range(3)]
    if os.fork() == 0:
        return become(Belongings(*streams, os.open("/", os.O_PATH), os.dup(script), theirs.fileno()), None, kept)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
OWN = """
before = trampolines.find()
number = os.open(_ctypes.__file__, os.O_RDONLY)
other = os.open("/etc/passwd", os.O_RDONLY)
print({*trampolines.find()} - {*before} == {number}, flush=True)
child(other, (number,))
print(sum(os.path.exists(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")), flush=True)
os.lseek(number, 7, os.SEEK_SET)
print(os.path.sameopenfile(number, os.open(_ctypes.__file__, os.O_RDONLY)), os.get_inheritable(number), flush=True)
with open(f"/proc/{os.getppid()}/fdinfo/{number}") as file:
    print(file.readline(), flush=True)
"""
# A hundred of them take all the room that there is before the file is mapped once more.
CALLBACKS = """
child(os.open("/etc/passwd", os.O_RDONLY), trampolines.find())
filled = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(9)]
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
callbacks = [Callback(lambda value, more=more: value + more) for more in range(300)]
print(sum(each(1) for each in callbacks), flush=True)
"""


def said(program: str) -> list[str]:
    line = [sys.executable, "-c", BEGIN + program, str(TREE)]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_a_child_has_it_at_its_number_by_an_opening_of_its_own() -> None:
    """A position that requests shared would let one tell another something."""
    assert said(OWN) == ["True", "5", "True", "False", "pos:", "0"]


def test_callbacks_of_a_child_find_their_code() -> None:
    assert said(CALLBACKS) == [str(300 + sum(range(300)))]
