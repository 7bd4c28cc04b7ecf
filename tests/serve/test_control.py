"""The sockets of the control process: one that can't be had says why."""

from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.serve.control import open_control
from selcgi.settings import Settings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Settings(control=Path("/" + "x" * 107)), "write an absolute one of at most 107 bytes"),
        (Settings(metrics="nohost"), "write 127.0.0.1:9000"),
    ],
)
def test_a_socket_that_cannot_be_had_says_why(settings: Settings, reason: str) -> None:
    with pytest.raises(StartRefused, match=reason):
        open_control(settings)
