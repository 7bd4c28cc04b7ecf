"""When a zygote says that it should be replaced: the rest of its loop is seen at work in tests/e2e/test_warm.py."""

import array
import json
import mmap
import resource
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from selcgi.errors import StartRefused
from selcgi.system.processes import open_descriptors
from selcgi.zygote import main
from selcgi.zygote.frames import FAILED, READY, RETIRING, Setup, encode_setup
from tests.stack import TREE


@dataclass
class Files:
    said: str = ""

    def changed(self) -> str:
        return self.said


@dataclass
class World:
    growth: int
    stamps: Files = field(default_factory=Files)

    @property
    def setup(self) -> Setup:
        return Setup("/srv/cgi/x.cgi", "", "", "", (), self.growth, False)


def zygote(world: World, monkeypatch: pytest.MonkeyPatch) -> main.Zygote:
    monkeypatch.setattr(main, "_LOOK_SECONDS", 0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        return main.Zygote(control, cast(Any, world))


def test_it_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zygote(World(1 << 40), monkeypatch)._stale() == ""


def test_a_file_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zygote(World(1 << 40, Files("/srv/x.py")), monkeypatch)._stale() == "/srv/x.py has changed"


def test_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    one = zygote(World(8 << 20), monkeypatch)
    assert one._stale() == ""
    with mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as grown:  # malloc(3) may have as much to spare
        grown.write(b"x" * len(grown))
        assert one._stale() == "it has grown by more than 8388608 bytes"


def test_it_does_not_look_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    one = zygote(World(1 << 40, Files("/srv/x.py")), monkeypatch)
    monkeypatch.setattr(main, "_LOOK_SECONDS", 3600.0)
    assert one._stale() == ""


def send(control: socket.socket, data: bytes, *descriptors: int) -> None:
    control.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def test_one_that_is_stale_keeps_nothing_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another zygote gets it then, whatever modules of this one do at their exit."""
    monkeypatch.setattr(main, "_LOOK_SECONDS", 0.0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        before = open_descriptors()
        send(ours, b"request", *[2] * 7)
        assert main.Zygote(theirs, cast(Any, World(1 << 40, Files("/srv/x.py")))).serve() is None
        assert open_descriptors() == before
        assert json.loads(ours.recv(99)) == [RETIRING, "/srv/x.py has changed"]


def begun(theirs: socket.socket, **environ: str) -> subprocess.Popen[str]:
    line = [str(TREE / "bin" / "selcgi-zygote"), str(TREE)]
    said = subprocess.PIPE
    return subprocess.Popen(line, stdin=theirs.fileno(), stdout=said, stderr=subprocess.STDOUT, text=True, env=environ)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(30)
        yield ours, theirs


def test_that_its_script_does_not_arrive_is_said(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with begun(theirs) as process:
        ours.send(encode_setup(Setup("/srv/cgi/x.cgi", "", "", "", (), 1 << 30, confined=False)))
        assert json.loads(ours.recv(9999))[:2] == [
            FAILED,
            "the script did not arrive: the limit of open files, or the policy",
        ]
    assert process.returncode == 1


def test_what_site_loads_leaves_nothing_behind_either(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    (tmp_path / "sitecustomize.py").write_text(
        "import threading as t\nt.Thread(target=t.Event().wait, name='one').start()"
    )
    script = tmp_path / "x.cgi"
    script.write_text("#!/usr/bin/python3\n")
    with begun(theirs, PYTHONPATH=str(tmp_path)) as process, script.open() as file:
        setup = Setup(str(script), "/usr/bin/python3", "", "", (), 1 << 30, confined=False)
        send(ours, encode_setup(setup), file.fileno())
        report = ours.recv(9999).decode()
        process.kill()
    assert "what Python itself loads (sitecustomize, a .pth file) has started a thread (one)" in report


def test_of_a_message_that_does_not_arrive_whole_nothing_is_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    send(ours, b"request", *[2] * 7)
    before, (soft, hard) = open_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [number for number in range(max(before) + 8) if number not in before]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[4], hard))
    try:
        with pytest.raises(StartRefused, match="a descriptor did not arrive"):
            main.receive_descriptors(theirs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() == before


EXITS = """
import atexit, os
@atexit.register
def tell():
    for number in range(99):
        if os.path.exists(f"/proc/self/fd/{number}"):
            print(os.readlink(f"/proc/self/fd/{number}"))
application = print
"""


@pytest.mark.parametrize("text", [EXITS, EXITS + "1/0"])
def test_what_modules_do_at_the_exit_finds_no_socket(
    tmp_path: Path, text: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    script = tmp_path / "app.wsgi"
    script.write_text(text)
    with begun(theirs) as process, script.open() as file:
        send(ours, encode_setup(Setup(str(script), "", "", "application", (), 1 << 30, confined=False)), file.fileno())
        assert json.loads(ours.recv(9999))[0] in (READY, FAILED)
        ours.shutdown(socket.SHUT_WR)
        assert process.stdout is not None
        said = process.stdout.read()
    assert "/dev/null" in said
    assert "socket" not in said
