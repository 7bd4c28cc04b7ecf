"""Notifications, received by a real datagram socket; and that no state of the receiver raises."""

import socket
from pathlib import Path

import pytest

from selcgi.system.notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_assignments_arrive_as_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"{tmp_path}/n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        assert notify("READY=1", "STATUS=2 workers") == ""
        assert manager.recv(999) == b"READY=1\nSTATUS=2 workers"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_manager_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if value is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert notify("READY=1") == ""


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/no/such/socket", "No such file"),
        ("@no-such-selcgi-manager", "Connection refused"),
        ("vsock:2:1", "neither a path nor"),
        ("/" + "n" * 200, "too long"),
    ],
)
def test_a_manager_that_is_not_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert reason in notify("READY=1")
