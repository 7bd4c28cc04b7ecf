"""What bin/ installs on the user's machine: no service is started, and nothing is left when it is told to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import TREE, wait_until

# stands for an apt-get that hangs, and for the dpkg that it has started
APT_GET = """#!/bin/sh
sleep 600 &
echo $! > "$0.pid"
wait
"""
INSTALL = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tests.guest import host
if sys.argv[2:]:  # it is told to end while it starts apt-get
    made = subprocess.Popen.__init__
    def make(*words, **options):
        made(*words, **options)
        while not (os.path.exists(sys.argv[2]) and os.path.getsize(sys.argv[2])):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
    subprocess.Popen.__init__ = make
os.geteuid = lambda: 0
host.POLICY = Path(sys.argv[1])
host.end_on_sigterm()
host.install_packages(["one"])
"""


@pytest.mark.parametrize("when", ["while apt-get runs", "while it is started"])
def test_an_installation_that_is_told_to_end_leaves_no_policy_and_no_process(tmp_path: Path, when: str) -> None:
    apt_get, policy, pid = (tmp_path / name for name in ("apt-get", "policy-rc.d", "apt-get.pid"))
    apt_get.write_text(APT_GET)
    apt_get.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(TREE)}
    by_itself = () if when == "while apt-get runs" else (pid,)
    process = subprocess.Popen([sys.executable, "-c", INSTALL, policy, *by_itself], env=environ)
    wait_until("apt-get runs", lambda: pid.exists() and pid.read_text().strip())
    if not by_itself:
        assert policy.stat().st_mode & 0o777 == 0o755
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert not policy.exists()
    wait_until("dpkg has ended", lambda: not runs(pid.read_text().strip()))


@pytest.mark.parametrize("program", ["bin/demo", "bin/test"])
def test_a_fresh_machines_python_is_enough_to_begin(program: str) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", TREE / program, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def runs(pid: str) -> bool:
    """A zombie has no command line."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False
