"""When a zygote says that it should be replaced: the rest of its loop is seen at work in tests/e2e/test_warm.py."""

import socket
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from selcgi.zygote import main
from selcgi.zygote.frames import Setup


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
    grown = bytearray(b"x" * (16 << 20))
    assert one._stale() == "it has grown by more than 8388608 bytes"
    assert grown


def test_it_does_not_look_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    one = zygote(World(1 << 40, Files("/srv/x.py")), monkeypatch)
    monkeypatch.setattr(main, "_LOOK_SECONDS", 3600.0)
    assert one._stale() == ""
