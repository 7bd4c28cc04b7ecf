"""The transcript of README.md, replayed: each command gives what the page says."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
README = (TREE / "README.md").read_text()


def steps() -> list[tuple[str, str]]:
    """Command and output of every step of the console block."""
    (block,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The examples, where another user can read them, with `selcgi` on the path."""
    place = Path(tempfile.mkdtemp(prefix="selcgi-readme-", dir="/var/tmp"))
    place.chmod(0o755)
    shutil.copytree(TREE / "contrib" / "examples", place / "examples")
    (place / "selcgi").write_text(f'#!/bin/sh\nexec {sys.executable} {TREE}/bin/selcgi "$@"\n')
    (place / "selcgi").chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_the_transcript_is_true(folder: Path) -> None:
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(TREE)}
    assert len(steps()) == 7
    for command, output in steps():
        done = subprocess.run(
            ["bash", "-c", f"({command}) 2>&1"], cwd=folder / "examples", env=environ, capture_output=True, text=True
        )
        pattern = re.escape(output).replace(r"\.\.\.", ".*")
        assert re.fullmatch(pattern, done.stdout), f"$ {command}\n{done.stdout}"


def test_every_path_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:selcgi|contrib|tests|bin)/[\w./-]*)", README))
    assert len(named) > 15
    assert [path for path in named if not (TREE / path).exists()] == []
