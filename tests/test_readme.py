"""The transcript of README.md, replayed: each command gives what the page says. And every command, option and path that
a page names is there.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from selcgi.cli.main import cli
from selcgi.cli.man import every_command

TREE = Path(__file__).resolve().parent.parent
README = (TREE / "README.md").read_text()
PAGES = [TREE / "README.md", *sorted((TREE / "contrib").rglob("*.md")), *sorted((TREE / "contrib").rglob("*.conf"))]
COMMANDS = dict(every_command("selcgi", cli))


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


def options_of(command: click.Command) -> set[str]:
    return {name for param in command.params for name in param.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    first = {path.split()[1] for path in COMMANDS} | {"--version", "runs"}  # "selcgi runs in initrc_t" is what it says
    assert set(re.findall(r"`(?:runuser -u selcgi -- )?selcgi ([\w-]+)", text)) <= first
    for path, command in COMMANDS.items():
        for words in re.findall(rf"\b{path}\b((?:[^`\n|]|\\\n)*)", text):
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", words)) <= options_of(command), f"{path}{words}"


def test_every_path_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:selcgi|contrib|tests|bin)/[\w./-]*)", README))
    assert len(named) > 15
    assert [path for path in named if not (TREE / path).exists()] == []
