"""The program that zygotes are made of: where it is looked for, and who else could exchange it."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selcgi.errors import LaunchStarved, ZygoteFailed
from selcgi.launch import program
from selcgi.launch.program import NAME, open_program, program_path
from selcgi.system.selinux import NoLabels
from tests.stack import TREE

SOMEBODY = 12345


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where selcgi is started from, with a program."""
    made = tmp_path / "bin"
    made.mkdir(mode=0o755)
    (made / NAME).write_text("#!/usr/bin/python3 -IS\n")
    (made / NAME).chmod(0o755)
    monkeypatch.setattr(program, "_BESIDE", made)
    return made


def test_what_it_is(folder: Path) -> None:
    found = open_program(NoLabels())
    assert (found.path, found.interpreter) == (bytes(folder / NAME), b"/usr/bin/python3")
    found.close()


SPOILED: dict[str, Callable[[Path], object]] = {
    "a file for everybody": lambda folder: (folder / NAME).chmod(0o757),
    "a folder for everybody": lambda folder: folder.chmod(0o757),
    "somebody's file": lambda folder: os.chown(folder / NAME, SOMEBODY, -1),
    "somebody's folder": lambda folder: os.chown(folder, SOMEBODY, -1),
}


@pytest.mark.parametrize("how", SPOILED)
def test_one_that_somebody_else_could_exchange(folder: Path, how: str) -> None:
    SPOILED[how](folder)
    with pytest.raises(ZygoteFailed) as caught:
        open_program(NoLabels())
    name = str(folder / NAME if "file" in how else folder)
    assert caught.value.reason.startswith(f"{name} (mode ")
    assert caught.value.fix == (f"chown root {name}" if "somebody's" in how else f"chmod 0755 {name}")


def test_a_group_may_write(folder: Path) -> None:
    """As in a tree that was checked out with umask 002."""
    folder.chmod(0o775)
    (folder / NAME).chmod(0o775)
    open_program(NoLabels()).close()


def test_whose_modules_a_zygote_loads_may_own_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a developer's tree, when root tries it."""
    for one in (folder, folder / NAME, tmp_path):
        os.chown(one, SOMEBODY, -1)
    monkeypatch.setattr("selcgi.__file__", str(tmp_path))
    open_program(NoLabels()).close()


def test_the_folder_of_a_link_is_that_of_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / NAME).rename(tmp_path / "real")
    (folder / NAME).symlink_to(tmp_path / "real")
    assert program_path() == tmp_path / "real"
    tmp_path.chmod(0o757)
    with pytest.raises(ZygoteFailed, match=f"^{tmp_path} "):
        open_program(NoLabels())


def test_without_a_descriptor_for_both(folder: Path) -> None:  # noqa: ARG001
    """None is left open: see conftest.py, nothing_left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        with pytest.raises(LaunchStarved, match="cannot open "):
            open_program(NoLabels())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_it_is_beside_what_was_started_wherever_that_has_gone(folder: Path) -> None:
    """By a relative path, from a folder that is left then."""
    started = folder / "selcgi"
    started.write_text(
        "import os, sys\nfrom selcgi.launch.program import program_path\nos.chdir('/')\nprint(program_path())\n"
    )
    line = [sys.executable, "bin/selcgi"]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    done = subprocess.run(line, cwd=folder.parent, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder / NAME}\n"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("one", "two")])
def test_to_whoever_starts_it_by_hand_it_says_whose_it_is(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, TREE / "bin" / NAME, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("selcgi-zygote: selcgi starts it by itself")
    assert done.stderr.count("\n") == 1
