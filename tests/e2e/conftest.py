"""A place for scripts that other users can enter, a delegated cgroup, and selcgi with SELinux off."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import PROOF
from tests.stack import Selcgi

USER = "nobody"  # scripts run as this user: the tests themselves run as root
Serve = Callable[..., Selcgi]


class Place:
    """A root of scripts, a mapping, and a folder that scripts may write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cgi = folder / "cgi"
        self.marks = folder / "marks"
        self.map = folder / "site.map"
        self.cgi.mkdir(mode=0o755)
        self.marks.mkdir()
        self.marks.chmod(0o777)
        self.rules("alice user_webapp_t:s0:c1", "bob user_webapp_t:s0:c2", "__anonymous__ anon_webapp_t:s0")

    def rules(self, *lines: str) -> None:
        self.map.write_text("\n".join(lines) + "\n")

    def script(self, name: str, text: str) -> str:
        path = self.cgi / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def proof(self) -> Path:
        """A proof file with what the web servers of tests/servers.py send."""
        path = self.folder / "proof"
        path.write_text(PROOF)
        path.chmod(0o600)
        return path


@pytest.fixture
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="selcgi-e2e-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield Place(folder)
    shutil.rmtree(folder)


def cgroup2() -> Path:
    """Where cgroup v2 is mounted, alone or beside v1."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return next(Path(line.split()[1]) for line in lines if line.split()[2] == "cgroup2")


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = cgroup2() / f"selcgi-tests-{os.getpid()}"
    path.mkdir()
    yield path
    for inner in sorted(path.rglob("*/"), reverse=True):
        inner.rmdir()
    path.rmdir()


@pytest.fixture
def control(place: Place) -> Path:
    return place.folder / "control.sock"


@pytest.fixture(params=["guard", "cgroup"])
def way(request: pytest.FixtureRequest) -> str:
    """The option that chooses how requests are ended."""
    if request.param == "guard":
        return "--cgroup=none"
    return f"--cgroup={request.getfixturevalue('cgroup')}"


@pytest.fixture
def serve(place: Place) -> Serve:
    """selcgi on the place's scripts; more options may be given."""

    def start(*options: str, identity: str = "remote-user") -> Selcgi:
        shared = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--workers=1")
        return Selcgi(place.folder, *shared, f"--env=CGI_MARKS={place.marks}", *options, identity=identity)

    return start
