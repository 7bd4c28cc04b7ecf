"""A script in a fork of a warm interpreter beside the same script in a fresh one: nothing that it can show differs.

For the Python that runs the tests, and the system's own.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import TREE

CHILD = Path(__file__).parent / "child.py"
PRELOADS = (
    "json,logging,random,uuid,tempfile,decimal,threading,atexit,ssl,traceback,subprocess,contextlib,multiprocessing,"
    "helping"
)
PYTHONS = ("/usr/bin/python3", sys.executable)
TABLE = (TREE / "tests" / "data" / "warm-scripts.txt").read_text().split("\n=== ")[1:]
SCRIPTS: dict[str, bytes] = {text.partition("\n")[0]: text.partition("\n")[2].encode() for text in TABLE}
SCRIPTS["a null byte"] = b"x = 1\0"
SCRIPTS["bytes that are no UTF-8"] = b"print('A\xff')"
SCRIPTS["coding"] = b"# -*- coding: latin-1 -*-\nprint(len('caf\xe9'))"
NEIGHBOUR = "import sys\nclass _A:\n    def __del__(self): print('neighbour goes')\nvalue, kept = 3, _A()\n"


HELPING = """
import logging, sys, warnings
kept, handler, opened, held = sys.stdout, logging.StreamHandler(), None, None
def say(text, file=sys.stdout):
    print(text, file=file)
def warn():
    warnings.warn("of a module", stacklevel=2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    (tmp_path / "broken.py").write_text("def f():\n    1/0\nf()\n")
    (tmp_path / "wrong.py").write_text("def (\n")
    (tmp_path / "calendar.py").write_text("mine = 'beside the script'\n")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("mine = 'beside the script'\n")
    (tmp_path / "json" / "tool.py").write_text("")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helping.py").write_text(HELPING)
    return tmp_path


def outcome(line: list[str], folder: Path) -> tuple[int, str, str]:
    environ = {"PATH": "/usr/bin:/bin", "REQUEST_METHOD": "GET", "LANG": "C.UTF-8", "PYTHONPATH": str(folder / "lib")}
    done = subprocess.run(
        line, input=b"one\r\ntwo\nthree", capture_output=True, check=False, cwd=folder, env=environ, timeout=60
    )
    return done.returncode, _alike(done.stdout), _alike(done.stderr)


def _alike(output: bytes) -> str:
    """Addresses and the like differ between two runs of the same."""
    return re.sub("0x[0-9a-f]+|(?<=refcount : )[0-9]+", "0x", output.decode(errors="replace"))


def both(folder: Path, python: str, text: bytes, flags: str = "") -> tuple[object, object]:
    path = folder / "script.py"
    path.write_bytes(f"#!{python} {flags}\n".encode() + text + b"\n")
    fresh = outcome([python, *flags.split(), str(path)], folder)
    (folder / "out").unlink(missing_ok=True)
    preloads = "" if "E" in flags or "I" in flags else PRELOADS  # one is in PYTHONPATH
    warm = outcome([python, "-IS", str(CHILD), str(TREE), preloads, str(path)], folder)
    return fresh, warm


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_as_if_started_fresh(folder: Path, python: str, name: str) -> None:
    fresh, warm = both(folder, python, SCRIPTS[name])
    assert warm == fresh


@pytest.mark.parametrize("flags", ["-u", "-B", "-I", "-E", "-s", "-P", "-uB", "-Is"])
def test_flags_of_the_first_line(folder: Path, flags: str) -> None:
    text = b"import sys, os\nprint(sys.stdout.write_through, sys.flags, sys.path, sys.orig_argv, flush=True)\n"
    text += b"print('lost, or not')\nos._exit(0)"
    fresh, warm = both(folder, "/usr/bin/python3", text, flags)
    assert warm == fresh
