"""The lock under which a socket is made: of selcgi's own user, whoever else may look at the folder."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.settings import ListenerSettings
from selcgi.system.sockets import close_listener, open_listener


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_where_another_is_just_starting_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s.lock").touch(0o600)
    other = os.open(tmp_path / "s.lock", os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StartRefused, match="is locked"):
            open_listener(ListenerSettings(f"unix:{tmp_path}/s"))
    finally:
        os.close(other)
    assert not (tmp_path / "s").exists()


OUTSIDER = """
import fcntl, os, sys
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for path in sys.argv[1:]:
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)
        print("locked", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
sys.stdin.read()
"""


def test_another_user_cannot_keep_it_from_starting(opened: ExitStack) -> None:
    """The folder can be locked by whoever may read it, the lock file by nobody else; one is left from a crash here."""
    place = Path(opened.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
    place.chmod(0o755)
    (place / "s.lock").touch(0o600)
    words = [sys.executable, "-c", OUTSIDER, str(place), str(place / "s.lock")]
    outsider = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    opened.enter_context(outsider)
    assert outsider.stdout is not None
    assert [outsider.stdout.readline() for _ in range(2)] == [b"locked\n", b"PermissionError\n"]
    (sock,) = open_listener(ListenerSettings(f"unix:{place}/s"))
    opened.callback(close_listener, sock)
    assert [path.name for path in place.iterdir()] == ["s"]


@pytest.mark.parametrize("kind", ["another's", "wide", "link"])
def test_a_lock_that_is_not_ours_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / "s.lock"
    if kind == "link":
        lock.symlink_to("elsewhere")
    else:
        lock.touch(0o600)
        os.chown(lock, 1 if kind == "another's" else 0, 0)
        lock.chmod(0o600 if kind == "another's" else 0o644)
    with pytest.raises(StartRefused, match=r"s\.lock") as refused:
        open_listener(ListenerSettings(f"unix:{tmp_path}/s"))
    assert "remove" in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()
