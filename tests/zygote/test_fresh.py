"""What two requests of one zygote must not have in common."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.stack import TREE
from tests.zygote.test_script import CHILD

PRELOADS = "random,uuid,tempfile,ssl,secrets,logging,multiprocessing,email.utils,asyncio,numbers_of_a_preload"
CHILDREN = 6
SHOW = """#!/usr/bin/python3
import email.utils, json, multiprocessing, os, random, secrets, signal, ssl, tempfile, threading, uuid

newer = {name: str(getattr(uuid, name)()) for name in ("uuid6", "uuid7") if hasattr(uuid, name)}  # of Python 3.14
print(json.dumps({
    **newer,
    "random": random.random(),
    "uuid1": str(uuid.uuid1()),
    "uuid4": str(uuid.uuid4()),
    "secrets": secrets.token_hex(8),
    "ssl": ssl.RAND_bytes(8).hex(),
    "tempfile": next(tempfile._get_candidate_names()),
    "mkstemp": tempfile.mkstemp()[1],
    "urandom": os.urandom(8).hex(),
    "system's": random.SystemRandom().random(),
    "message": email.utils.make_msgid(domain="x"),
    "authkey": multiprocessing.current_process().authkey.hex(),
    "pid": os.getpid(),
    "of multiprocessing": multiprocessing.current_process().pid,
    "session": os.getsid(0) if os.getsid(0) == os.getpid() else -os.getpid(),
    "native id": threading.get_native_id(),
}), flush=True)
random.seed(1); tempfile.tempdir = "/changed"; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.environ["X"] = "left"
"""
LEFT = """#!/usr/bin/python3
import asyncio, decimal, gc, locale, logging, os, signal, socket, sys, tempfile, threading, time, warnings
def settings():
    return [decimal.getcontext().prec, locale.setlocale(locale.LC_ALL), time.tzname, len(warnings.filters),
        logging.getLogger().handlers, socket.getdefaulttimeout(), sys.getrecursionlimit(), gc.isenabled(),
        os.getcwd() == "/", asyncio._get_running_loop()]
found = settings()
decimal.getcontext().prec, os.environ["TZ"] = 5, "Asia/Tokyo"
time.tzset(), locale.setlocale(locale.LC_ALL, "C"), warnings.simplefilter("error"), logging.basicConfig()
socket.setdefaulttimeout(9), sys.setrecursionlimit(999), gc.disable(), os.chdir("/")
asyncio.set_event_loop(asyncio.new_event_loop())
print(sum(map(str.__ne__, map(repr, found), map(repr, settings()))), *found)
print(tempfile.gettempdir(), os.environ.get("LEFT"), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
      threading.active_count(), hasattr(sys, "left"), "left_module" in sys.modules, os.umask(0o22) == 0o22, flush=True)
tempfile.tempdir, os.environ["LEFT"], sys.left = "/changed", "yes", 1
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.umask(0o77)
sys.modules["left_module"] = sys
threading.Thread(target=threading.Event().wait, daemon=True).start()
kept = os.open("/dev/null", os.O_RDONLY)
"""
BUFFERED = """#!/usr/bin/python3
import logging
logging.getLogger("mine").warning("once")
"""
HANDLER = """
import logging, logging.handlers
class Printing(logging.StreamHandler):
    pass
target = Printing()
memory = logging.handlers.MemoryHandler(100, target=target)
logging.getLogger("mine").addHandler(memory)
logging.getLogger("mine").propagate = False
print("of the preload", end="")
"""


def children(folder: Path, text: str, preload: str, number: int = CHILDREN) -> subprocess.CompletedProcess[str]:
    (folder / "numbers_of_a_preload.py").write_text(preload)
    path = folder / "script.py"
    path.write_text(text)
    line = ["/usr/bin/python3", "-IS", "-c", START, str(CHILD), str(TREE), PRELOADS, *[str(path)] * number]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder, timeout=60)


# As child.py, but with the folder of the preload to be found in.
START = """
import os, runpy, sys
sys.argv[:] = sys.argv[1:]
sys.path.insert(0, os.getcwd())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_what_is_random_is_so_for_each(tmp_path: Path) -> None:
    shown = [json.loads(line) for line in children(tmp_path, SHOW, "").stdout.splitlines()]
    assert len(shown) == CHILDREN
    for name in shown[0]:
        twice = [value for value, times in Counter(one[name] for one in shown).items() if times > 1]
        assert not twice, name
    for one in shown:
        Path(one["mkstemp"]).unlink()


TAKEN = """
import multiprocessing.process, os, random
without, seeded, again = random.Random(), random.Random(7), random.Random(7)
again.seed()
os.environ["SET_BY_A_PRELOAD"], os.environ["REQUEST_METHOD"] = "yes", "of the preload"
os.environ.setdefault("PATH", "is there")
"""
SHOW_TAKEN = """#!/usr/bin/python3
import json, os, random
from multiprocessing.process import current_process
from numbers_of_a_preload import again, seeded, without
print(json.dumps([without.random(), again.random(), current_process().authkey.hex(), seeded.random(),
    os.environ["SET_BY_A_PRELOAD"], os.environ["REQUEST_METHOD"], os.environ["PATH"],
    random.Random.seed.__module__]), flush=True)
"""


def test_what_a_preload_has_taken_from_the_kernel_each_child_takes_for_itself(tmp_path: Path) -> None:
    """What it has set stays, a seed among it."""
    own, shared = set(), set()
    for line in children(tmp_path, SHOW_TAKEN, TAKEN).stdout.splitlines():
        first, second, key, *others = json.loads(line)
        own |= {first, second, key}
        shared.add(tuple(others))
    assert len(own) == 3 * CHILDREN
    assert shared == {(random.Random(7).random(), "yes", "of the preload", os.environ["PATH"], "random")}


def test_what_one_leaves_no_other_finds(tmp_path: Path) -> None:
    lines = children(tmp_path, LEFT, "").stdout.splitlines()
    assert lines[1::2] == ["/tmp None True 1 False False True"] * CHILDREN
    assert len(set(lines[::2])) == 1, "all of it is as it was for the first"
    assert int(lines[0].split()[0]) >= 8, "of the ten that it has changed"


NODE = """#!/usr/bin/python3
import sys, uuid
sys.addaudithook(lambda event, _: event in ("subprocess.Popen", "os.posix_spawn") and print(event))
known = {value for name, value in vars(uuid).items() if name.startswith(("_node", "_last_timestamp", "_generate_time"))}
assert uuid.uuid1().node == uuid.getnode()
print(known, uuid._generate_time_safe)
"""
CLOCK = """
import uuid
vars(uuid).update({name: 1 << 60 for name in vars(uuid) if name.startswith("_last_timestamp")}, _node=1)
"""


def test_no_program_is_run_to_find_out_the_node_of_a_uuid(tmp_path: Path) -> None:
    assert children(tmp_path, NODE, CLOCK).stdout == "{None} None\n" * CHILDREN


NOTED = """
import logging, multiprocessing.process
multiprocessing.process.ORIGINAL_DIR, logging._startTime = "/elsewhere", type(logging._startTime)(0)
"""
SHOW_NOTED = """#!/usr/bin/python3
import logging, multiprocessing.process, os
print(multiprocessing.process.ORIGINAL_DIR == os.getcwd(), logging.makeLogRecord({}).relativeCreated < 1e9, flush=True)
"""


def test_the_moment_and_the_folder_of_the_start_are_the_childs(tmp_path: Path) -> None:
    assert children(tmp_path, SHOW_NOTED, NOTED).stdout == "True True\n" * CHILDREN


def test_what_a_preload_has_printed_and_logged_comes_from_no_child_twice(tmp_path: Path) -> None:
    done = children(tmp_path, BUFFERED, HANDLER)
    assert done.stdout == "of the preload"
    assert done.stderr == "once\n" * CHILDREN


@pytest.mark.parametrize("path", [sys.executable, "/usr/bin/python3"])
def test_a_child_that_does_nothing_ends_well(tmp_path: Path, path: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"#!{path}\n")
    line = [path, "-IS", str(CHILD), str(TREE), "", *[str(script)] * 3]
    done = subprocess.run(line, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# Both libraries are used in the zygote before.
NATIVE = """
import ctypes, os, sqlite3, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote.birth import clone_for
from selcgi.zygote.seeds import Seeds

def taken():
    numbers = ctypes.create_string_buffer(16)
    for level in range(3):
        library.gnutls_rnd(level, numbers, 16)
        yield numbers.raw.hex()
    yield sqlite3.connect(":memory:").execute("SELECT hex(randomblob(8))").fetchone()[0]

seeds = Seeds()
library = ctypes.CDLL("libgnutls.so.30")
if os.fork() == 0:
    list(taken())
    seeds.settle()
    for _ in range(3):
        if clone_for(-1) == 0:
            seeds.renew()
            os.write(1, " ".join(taken()).encode() + b"\\n")
            os._exit(0)
    os._exit(0)
for _ in range(4):
    os.wait()
"""


def test_numbers_of_gnutls_and_sqlite_are_each_childs_own() -> None:
    """By themselves they would be so in a fork by glibc, and where a file is opened."""
    line = ["/usr/bin/python3", "-c", NATIVE, str(TREE)]
    numbers = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert (len(numbers), len(set(numbers))) == (12, 12)
