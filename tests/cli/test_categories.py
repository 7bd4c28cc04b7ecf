"""`selcgi categories` from a shell: what it prints where, and its exit code."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.stack import PROGRAM, TREE


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "categories"


def run(registry: Path, command: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    line = [*PROGRAM, "categories", command, f"--categories={registry}", *map(str, words)]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ, check=False)


def good(registry: Path, command: str, *words: str | Path) -> str:
    done = run(registry, command, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_assign_and_list(registry: Path) -> None:
    assert good(registry, "assign", "alice") == "alice: c512,c513\n"
    assert good(registry, "assign", "Bob Miller") == "Bob Miller: c512,c514\n"
    assert good(registry, "assign", "alice") == "alice: c512,c513\n"
    head, alice, bob, count = good(registry, "list").splitlines()
    assert head.split() == ["number", "categories", "user", "since"]
    assert alice.split()[:3] == ["0", "c512,c513", "alice"]
    assert bob.split()[:4] == ["1", "c512,c514", "Bob", "Miller"]
    assert count == "2 of 130816 pairs of c512.c1023 have been given"
    assert [row["user"] for row in json.loads(good(registry, "list", "--json"))] == ["alice", "Bob Miller"]


def test_the_band_of_the_registry_need_not_be_repeated(registry: Path) -> None:
    assert good(registry, "assign", "alice", "--user-categories=c10.c20") == "alice: c10,c11\n"
    assert good(registry, "assign", "bob") == "bob: c10,c12\n"
    done = run(registry, "assign", "carol", "--user-categories=c10.c30")
    assert done.returncode == 3
    assert "gives out pairs of c10.c20" in done.stderr


def test_release_warns_and_nobody_gets_them_by_chance(registry: Path) -> None:
    good(registry, "assign", "alice")
    done = run(registry, "release", "alice")
    assert (done.returncode, done.stdout) == (0, "alice had c512,c513, number 0\n")
    assert done.stderr.startswith("warning whoever gets them by --reuse 0 reads all that still carries them")
    assert good(registry, "assign", "alice") == "alice: c512,c514\n"
    assert [row["number"] for row in json.loads(good(registry, "list", "--all", "--json"))] == ["0", "1"]
    assert good(registry, "assign", "bob", "--reuse", "0") == "bob: c512,c513\n"
    assert [row["user"] for row in json.loads(good(registry, "list", "--json"))] == ["bob", "alice"]


@pytest.mark.parametrize(
    ("command", "words", "code", "said"),
    [
        ("release", ("nobody",), 3, "has no categories"),
        ("assign", ("x" * 300,), 3, "a name of 1 to 256 bytes"),
        ("assign", ("alice", "--reuse=7"), 3, "is not released"),
        ("assign", ("alice", "--user-categories=c9.c8"), 2, "is no band"),
        ("label", ("alice", "/nowhere"), 3, "is no folder"),
        ("label", ("alice", "/tmp/../tmp"), 3, "is no plain path"),
        ("check", (), 3, "no labelled folder is there"),
    ],
)
def test_what_cannot_be_done_is_said(
    registry: Path, command: str, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run(registry, command, *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_label_puts_them_on_a_folder_and_says_what_lasts(registry: Path, tmp_path: Path) -> None:
    folder = tmp_path / "alice"
    folder.mkdir()
    os.setxattr(folder, "security.selinux", b"system_u:object_r:user_webapp_rw_t:s0\0")
    first, second = good(registry, "label", "alice", folder).splitlines()
    assert first == f"alice: s0:c512,c513, 1 labels changed beneath {folder}"
    assert "semanage fcontext -a -t user_webapp_rw_t -r s0:c512,c513" in second
    assert os.getxattr(folder, "security.selinux") == b"system_u:object_r:user_webapp_rw_t:s0:c512,c513\0"
    done = run(registry, "release", "alice")
    assert f"{folder} and what lies in it still carry them" in done.stderr


def test_help_says_how_to_run_it_as_root() -> None:
    line = [*PROGRAM, "categories", "--help"]
    text = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TREE)}).stdout
    assert "/opt/selcgi/bin/python -m selcgi categories label" in text
