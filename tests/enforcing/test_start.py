"""Where selcgi can't keep its promise it does not start, and says in one sentence what to do."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import load

pytestmark = pytest.mark.enforcing

PYTHON = site.PROGRAM.parent / "python"
BINDING = Path("/usr/lib/python3/dist-packages/selinux")
STUB = "def is_selinux_enabled():\n    return 0\n\n\ndef is_selinux_mls_enabled():\n    return 0\n"
# shell words that change the system for the program alone, in a mount namespace of its own
READ_ONLY = "mount --bind /sys/fs/selinux /sys/fs/selinux && mount -o remount,ro,bind /sys/fs/selinux && "
UNMOUNTED = "umount /sys/fs/selinux && "


def start(before: str = "", *options: str, environ: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`selcgi run` of a script, which passes the same gate as `serve`."""
    words = " ".join([*site.as_service(*environ), "run", *options, f"--root={site.CGI}", "--user=alice", "context.cgi"])
    line = ["unshare", "--mount", "bash", "-c", f"{before}exec {words}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence; it must end with what to do."""
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("selcgi: StartRefused: ")
    assert "; " in line
    return line


@pytest.fixture(autouse=True)
def script() -> None:
    site.script("context.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat /proc/self/attr/current\n")


@pytest.fixture
def permissive_kernel(avcs: Claims) -> Iterator[None]:
    site.run("setenforce", "0")
    yield
    site.run("setenforce", "1")
    avcs.claim_permissive()


@pytest.fixture
def hidden_binding() -> Iterator[None]:
    away = BINDING.with_name("selinux.away")
    BINDING.rename(away)
    yield
    away.rename(BINDING)


def test_it_starts_when_all_is_well() -> None:
    done = start()
    assert done.returncode == 0, done.stderr
    assert site.context_of("alice") in done.stdout


@pytest.mark.usefixtures("permissive_kernel")
def test_permissive_kernel() -> None:
    assert "permissive" in refusal(start())


@pytest.mark.usefixtures("permissive_kernel")
def test_permissive_kernel_when_asked_for() -> None:
    done = start("", "--selinux=permissive-ok")
    assert done.returncode == 0, done.stderr
    assert "permissive-ok" in done.stderr


def test_selinux_off_must_be_asked_for_and_every_line_says_so(avcs: Claims) -> None:
    with site.serving("--selinux=off") as running:
        answer = run_as(running, site.CGI / "context.cgi", "alice")
        assert (answer.status, running.entry()["selinux"]) == (500, "off")
    # The policy does not know that it was asked for.
    avcs.expect("selcgi_t", "selcgi_script_exec_t", "file", "execute_no_trans")


def test_another_domain() -> None:
    copy = site.write(Path("/opt/selcgi/bin/unlabelled"), site.PROGRAM.read_text(), 0o755, "bin_t:s0")
    environ = {"PYTHONPATH": str(site.TREE), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [str(PYTHON), str(copy), "run", "--script-user=selcgi", "--user=alice", "context.cgi"]
    done = subprocess.run(line, capture_output=True, text=True, env=environ)
    assert "initrc_t" in refusal(done)


@pytest.mark.usefixtures("hidden_binding")
def test_no_binding() -> None:
    assert "python3-selinux" in refusal(start())


@pytest.fixture
def stub() -> tuple[str, ...]:
    """PyPI's package of the name: it shadows the real one, and must not be taken for it."""
    place = site.write(Path("/opt/stub/selinux/__init__.py"), STUB)
    return (f"PYTHONPATH={place.parent.parent}:{site.TREE}",)


def test_the_real_binding_is_found_behind_a_stub(stub: tuple[str, ...]) -> None:
    done = start(environ=stub)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("hidden_binding")
def test_stub_binding(stub: tuple[str, ...]) -> None:
    assert "stub" in refusal(start(environ=stub))


def test_read_only_selinuxfs_is_not_taken_for_off() -> None:
    assert "read-only" in refusal(start(READ_ONLY))


def test_selinuxfs_not_mounted() -> None:
    assert "selinuxfs" in refusal(start(UNMOUNTED))


def test_permissive_domain(avcs: Claims) -> None:
    """The last of this file: it stays permissive."""
    load("launcher", "(typepermissive selcgi_t)")
    line = refusal(start())
    assert "selcgi_t" in line
    assert "permissive" in line
    avcs.claim_permissive()
