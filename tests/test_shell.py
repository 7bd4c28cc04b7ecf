"""The two ways to a shell in the guest, typed at a terminal: beside the running demo, and by itself."""

import os
import pty
import select
import subprocess
import sys
import termios

import pytest

from tests.enforcing.site import PASSWORD
from tests.stack import TREE, wait_until

pytestmark = pytest.mark.guest

SECONDS = 240.0  # until the guest has started, or ended


def at_terminal(words: list[str], invited: str, line: str) -> tuple[int, str]:
    """Type `line` once `invited` is shown. The exit code, and all that was shown; the terminal is left as it was."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    environ = {**os.environ, "TERM": "dumb", "PYTHONPATH": str(TREE)}
    shown = bytearray()
    process = subprocess.Popen([sys.executable, *words], cwd=TREE, stdin=slave, stdout=slave, stderr=slave, env=environ)
    try:
        wait_until(invited, lambda: not read(master, shown, process) or invited.encode() in shown, SECONDS)
        assert process.poll() is None, shown
        os.write(master, line.encode() + b"\n")
        wait_until("its end", lambda: not read(master, shown, process), SECONDS)
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
    return process.returncode, shown.decode(errors="replace").replace("\r", "")


def read(master: int, shown: bytearray, process: "subprocess.Popen[bytes]") -> bool:
    """False when nothing more can come; the test holds the terminal open itself, for a look at its settings."""
    running = process.poll() is None
    ready = select.select([master], [], [], 0.1)[0]
    if ready:
        shown += os.read(master, 4096)
    return running or bool(ready)


def test_the_demo_stays_for_a_look_around() -> None:
    line = (
        f"curl -s -o /dev/null -w 'status %{{http_code}}.' -u alice:{PASSWORD} http://127.0.0.1/cgi-bin/probe.py; exit"
    )
    code, shown = at_terminal(["bin/demo", "--keep"], "demo# ", line)
    assert "\nverdict: every cell is as the mapping says\n" in shown
    assert "status 200." in shown
    assert code == 0


@pytest.mark.parametrize("words", [["bin/test", "--guest-shell"], ["-m", "tests.guest", "shell"]])
def test_a_shell_in_the_guest(words: list[str]) -> None:
    line = "echo $((6 * 7)) $(getenforce) $(id -Z) $(tty); exit"
    code, shown = at_terminal(words, "~# ", line)
    assert "42 Enforcing system_u:system_r:initrc_t:s0 /dev/tty1\n" in shown
    assert code == 0
