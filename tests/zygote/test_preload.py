"""What a preload may not leave behind, each case in a fresh interpreter: it can't be undone in this one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import TREE

PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from selcgi.errors import LoadFailed
from selcgi.zygote import preload
before = preload.state()
try:
    preload.load(sys.argv[3:], before)
except LoadFailed as error:
    print(error.reason)
"""


def outcome(folder: Path, text: str, *names: str) -> str:
    (folder / "mine.py").write_text(text)
    line = [sys.executable, "-c", PROGRAM, str(TREE), str(folder), *(names or ("mine",))]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "import threading as t; t.Thread(target=t.Event().wait, daemon=True, name='ticker').start()",
            "a thread (ticker)",
        ),
        ("import subprocess; kept = subprocess.Popen(['cat'], stdin=-1, stdout=-3)", "a process"),
        ("import socket; kept = socket.socket()", "a connection or socket (socket:"),
        ("import socket; kept = socket.socketpair()", "a connection or socket (socket:"),
        ("import sqlite3; kept = sqlite3.connect('{folder}/base')", "{folder}/base open"),
        ("kept = open('{folder}/log', 'w')", "{folder}/log open"),
        ("import mmap; k = open('{folder}/mine.py'); m = mmap.mmap(k.fileno(), 0, prot=1)", "{folder}/mine.py open"),
        ("import select; kept = select.epoll()", "eventpoll] open"),
        ("import mmap; kept = mmap.mmap(-1, 4096)", "memory that all requests could write to ("),
        ("import mmap; kept = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)", "memory that all requests could write to ("),
        ("import multiprocessing as m; k = m.get_context('fork').Lock()", "memory that all requests could write to ("),
        ("import signal; signal.signal(signal.SIGHUP, print)", "handler for SIGHUP"),
        ("import os; null = os.close(0)", "closed descriptor 0"),
        ("import signal; signal.setitimer(signal.ITIMER_PROF, 1000)", "a timer"),
    ],
)  # fmt: skip
def test_it_leaves_nothing_that_forks_can_not_share(tmp_path: Path, text: str, reason: str) -> None:
    said = outcome(tmp_path, text.replace("{folder}", str(tmp_path)))
    assert said.startswith("--preload mine has "), said
    assert reason.replace("{folder}", str(tmp_path)) in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1/0", "ZeroDivisionError: division by zero at {folder}/mine.py:1"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' at {folder}/mine.py:1"),
        ("def", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("raise SystemExit", "SystemExit at {folder}/mine.py:1"),
    ],
)
def test_one_that_fails_is_named_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    said = outcome(tmp_path, text)
    assert said == f"--preload mine can't be imported: {reason.replace('{folder}', str(tmp_path))}"


def test_what_nobody_holds_any_more_is_not_left(tmp_path: Path) -> None:
    text = "ring = [open('{folder}/log', 'w')]; ring.append(ring); del ring".replace("{folder}", str(tmp_path))
    assert outcome(tmp_path, text) == ""


def test_memory_that_is_mapped_for_the_module_alone_is_its_own(tmp_path: Path) -> None:
    assert outcome(tmp_path, "import mmap; kept = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE)") == ""


def test_a_file_that_can_only_be_read_is_no_shared_memory(tmp_path: Path) -> None:
    text = f"import ctypes\nwith open('{tmp_path}/mine.py') as file: "
    assert outcome(tmp_path, text + "ctypes.CDLL(None).mmap(None, 4096, 1, 1, file.fileno(), 0)") == ""


def test_the_usual_ones_leave_nothing(tmp_path: Path) -> None:
    names = ("json", "logging", "ssl", "sqlite3", "uuid", "tempfile", "asyncio", "decimal", "urllib.request", "ctypes")
    assert outcome(tmp_path, "", *names) == ""
