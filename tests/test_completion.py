"""contrib/completion in real shells: what the Tab key makes of the beginning of a word."""

import os
import pty
import select
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serve.test_failures import failed, recorded
from tests.stack import PATIENCE

TREE = Path(__file__).resolve().parent.parent
FOLDER = TREE / "contrib" / "completion"
TAB = b"\t"
PROMPT = "what-next> "
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f". {FOLDER}/selcgi.bash"),
    "zsh": (["zsh", "-f", "-i"], f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (["fish", "--no-config", "-i"], f"set -p fish_complete_path {FOLDER}"),
}
shells = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """`selcgi` on the path, an empty home, a terminal that shows lines as they are."""
    program = tmp_path / "bin" / "selcgi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={TREE} exec {shlex.quote(sys.executable)} {TREE}/bin/selcgi "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    folders = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    return {**folders, "PATH": path, "PS1": PROMPT, "TERM": "dumb", "COLUMNS": "500", "LC_ALL": "C.UTF-8"}


class Typed:
    """A shell at a terminal, and what it has shown."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def type(self, keys: bytes, until: str) -> None:
        """Type, and wait until that is shown behind what was shown before."""
        start = len(self.shown)
        os.write(self._descriptor, keys)
        while until not in self.shown[start:]:
            assert select.select([self._descriptor], [], [], PATIENCE)[0], f"no {until!r} in {self.shown[start:]!r}"
            self.shown += os.read(self._descriptor, 65536).decode(errors="replace")


@contextmanager
def typing(shell: str, environ: dict[str, str]) -> Iterator[Typed]:
    words, load = SHELLS[shell]
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execvpe(words[0], words, environ)
    try:
        typed = Typed(descriptor)
        typed.type(f"{load}; echo re''ady\n".encode(), "ready")
        yield typed
    finally:
        os.close(descriptor)  # which hangs up
        os.waitpid(pid, 0)


@shells
def test_commands_options_and_values(shell: str, environ: dict[str, str]) -> None:
    with typing(shell, environ) as typed:
        typed.type(b"selcgi fai" + TAB, "selcgi failures ")
        typed.type(b"--ki" + TAB, "--kind ")
        typed.type(b"ref" + TAB, "refused ")


@shells
def test_files(shell: str, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "the-only.map").touch()
    with typing(shell, environ) as typed:
        typed.type(f"selcgi map check {tmp_path}/the-o".encode() + TAB, "the-only.map")


@shells
def test_ids_of_the_records(shell: str, environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "failures"
    recorded(path, failed(0xABC), failed(0xDEF))
    with typing(shell, environ) as typed:
        typed.type(f"selcgi replay --failures {path} 000000000a".encode() + TAB, "000000000abc")
