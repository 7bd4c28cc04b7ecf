"""Where a comparison runs: a folder that user nobody may enter, with selcgi and its packages in it, and cgroups.

Decides what all contestants share: the user, the interpreter of the scripts, the folder of the scripts. selcgi and the
packages are copies, so that an edit of the tree, or a home directory closed to others, does not matter. Everything goes
at the end: what still runs in a cgroup is killed with it. Called by tests/bench.
"""

import configparser
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import cgroup2
from tests.guest.fetch import GuestFailed
from tests.guest.host import end_on_sigterm
from tests.stack import TREE, wait_until

USER, GROUP = "nobody", "nogroup"
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups")
PYTHON = Path("/usr/bin/python3")  # of scripts and of selcgi: any user may run the distribution's
APPLICATIONS = ("flask",)


class BenchFailed(Exception):
    """Something could not be measured; the message says what, and what to do."""


def exit_code(name: str, measure: Callable[[], object]) -> int:
    """Of a program that measures: 3, with the reason, when it could not."""
    end_on_sigterm()
    try:
        measure()
    except (BenchFailed, GuestFailed) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 3
    return 0


@dataclass(frozen=True)
class Place:
    """`tree` is the copy of selcgi, `python` the interpreter that has its packages and Flask."""

    folder: Path
    cgroup: Path

    @property
    def cgi(self) -> Path:
        return self.folder / "cgi"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def file(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path


@contextlib.contextmanager
def open_place() -> Iterator[Place]:
    """A fresh one. BenchFailed when the machine can't have it."""
    if os.geteuid() != 0:
        raise BenchFailed("cgroups, and scripts as user nobody, need root: run it as root")
    packages = environment()
    folder = Path(tempfile.mkdtemp(prefix="selcgi-bench-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        for name in ("cgi", "run"):
            (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / "run", USER, GROUP)
        copy_tree(TREE, folder / "tree")
        shutil.copytree(packages, folder / "venv", symlinks=True)
        with delegated() as cgroup:
            yield Place(folder, cgroup)
    finally:
        shutil.rmtree(folder)


def copy_tree(tree: Path, target: Path) -> None:
    """selcgi's programs and package, compiled, as an installation has them."""
    for name in ("bin", "selcgi"):
        shutil.copytree(tree / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([PYTHON, "-m", "compileall", "-q", target / "selcgi"], check=True)


def delegated() -> contextlib.AbstractContextManager[Path]:
    """A cgroup of the user's, whoever starts from `start` may use it."""
    return group(cgroup2(), f"selcgi-bench-{os.getpid()}")


@contextlib.contextmanager
def group(parent: Path, name: str) -> Iterator[Path]:
    """A cgroup, as systemd would delegate it to the user: a service starts in its `start`."""
    path = parent / name
    path.mkdir()
    try:
        (path / "start").mkdir()
        for one in (path, *path.rglob("*")):
            shutil.chown(one, USER, GROUP)
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        wait_until(f"all of {path} has ended", lambda: "populated 0" in (path / "cgroup.events").read_text())
        for inner in sorted(path.rglob("*/"), reverse=True):
            inner.rmdir()
        path.rmdir()


def environment() -> Path:
    """The virtual environment in the cache, made when there is none for these requirements."""
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg")
    wanted = f"{setup['options']['install_requires']}\n{setup['options.extras_require']['fast']}".split()
    wanted += APPLICATIONS
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selcgi"
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    folder = base / f"bench-{hashlib.sha256(f'{version} {wanted}'.encode()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        print(f"installing into {folder}: {' '.join(wanted)}", file=sys.stderr, flush=True)
        _install(folder, wanted)
        (folder / "complete").touch()
    return folder


def _install(folder: Path, wanted: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lines = [str(PYTHON), "-m", "venv", str(folder)], [f"{folder}/bin/pip", "install", "-q", *wanted]
    for words in lines:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchFailed(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-1500:]}")
