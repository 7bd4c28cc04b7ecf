"""The guest itself: enforcing, faithful, bounded, and without a trace. Each test boots it for real."""

import hashlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.guest import audit, image, machine, suite
from tests.guest.fetch import GuestFailed
from tests.guest.machine import Job, run
from tests.stack import wait_until

pytestmark = pytest.mark.guest


def leftovers(folder: Path) -> list[str]:
    """Guests of this test that run, and what lies in its folder; other guests of the machine are no business of it."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            processes += [str(entry)] if f"uml_dir={folder}/".encode() in entry.read_bytes() else []
        except OSError:
            continue
    return processes + [str(path) for path in folder.iterdir()]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="guests-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert leftovers(Path(folder)) == []


def test_a_command_runs_in_enforcing_mode_and_its_exit_code_and_output_come_back() -> None:
    outcome = run(Job("getenforce; id -Z; ls /mnt/src/setup.cfg; printf 'a\\tb\\n'; exit 7"))
    expected = "Enforcing\nsystem_u:system_r:initrc_t:s0\n/mnt/src/setup.cfg\na\tb\n"
    assert (outcome.code, outcome.output) == (7, expected)


def test_a_run_chooses_its_domain() -> None:
    assert run(Job("id -Z", context="system_u:system_r:initrc_t:s0:c5")).output == "system_u:system_r:initrc_t:s0:c5\n"


def test_the_tree_is_read_only_and_results_come_back_as_files() -> None:
    outcome = run(Job("touch /mnt/src/x; echo result > /mnt/out/result"))
    assert outcome.files["result"] == b"result\n"
    assert "Read-only file system" in outcome.output
    assert not (image.TREE / "x").exists()


def test_a_run_cannot_see_the_host() -> None:
    outcome = run(Job("mkdir /h; mount -t hostfs -o /../../etc none /h; ls /h; mount -t hostfs none /h; ls /h"))
    assert "hostname" not in outcome.output.split()


def test_a_denial_is_reported() -> None:
    denials = run(Job("runcon -t httpd_t true")).denials
    assert ("httpd_t", "bin_t", "file", ("entrypoint",)) in {
        (one.source_type, one.target_type, one.tclass, one.permissions) for one in denials
    }


def test_a_denial_that_a_test_did_not_expect_fails_it() -> None:
    line = 'import subprocess; subprocess.run([\\"runcon\\", \\"-t\\", \\"httpd_t\\", \\"true\\"])'
    test = f"from tests.enforcing.conftest import *; exec('def test_it() -> None: {line}')"
    job = Job(
        f'mkdir /run/t && cd /run/t && echo "{test}" > test_it.py && PYTHONPATH=/mnt/src '
        f"{machine.PYTHON} -m pytest -q -p no:cacheprovider test_it.py"
    )
    outcome = run(job)
    assert outcome.code == 1
    assert "denials that no test expected" in outcome.output


def test_a_denial_fails_a_run_that_expects_none() -> None:
    outcome = run(Job("runcon -t httpd_t true; true", no_denials=True))
    assert (outcome.code, bool(outcome.denials)) == (1, True)
    assert "denied, and nobody expected it: system_u:system_r:httpd_t:s0 -> " in outcome.output


PANIC = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"
HANG = "echo so far > /dev/console; sleep 600"


def test_a_hang_is_a_failure_that_shows_the_console() -> None:
    with pytest.raises(GuestFailed, match=r"did not end within 6 s; its console:\n  \| "):
        run(Job(HANG, seconds=6))


def test_a_panic_is_a_failure_that_shows_the_console() -> None:
    with pytest.raises(machine.KernelDied, match="sysrq triggered crash"):
        run(Job(PANIC))


@pytest.mark.parametrize(("command", "times"), [(HANG, 1), (PANIC, 2), ("exit 1", 1)])
def test_only_a_dead_kernel_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, times: int
) -> None:
    jobs: list[Job] = []

    def counted(job: Job) -> machine.Outcome:
        jobs.append(job)
        return run(job)

    monkeypatch.setattr(machine, "run", counted)
    assert not bin_test()["boot"]("what", Job(command, seconds=6))
    assert len(jobs) == times
    assert ("kernel died, 0 more tries" in capsys.readouterr().out) == (times > 1)


def test_each_file_that_needs_the_guest_has_one_boot() -> None:
    files = sorted(path.stem.removeprefix("test_") for path in (image.TREE / "tests" / "enforcing").glob("test_*.py"))
    assert sorted(name for names in suite.boots() for name in names) == files
    assert not [names for names in suite.boots() if len(names) > 1 and not set(names).isdisjoint(suite.NEED_SYSTEMD)]


def bin_test() -> dict[str, Any]:
    """bin/test as a module."""
    return runpy.run_path(str(image.TREE / "bin" / "test"))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_nothing(signum: signal.Signals) -> None:
    folder = Path(tempfile.gettempdir())
    # Whoever has started the tests in the background may have had it ignored.
    words = ["env", "--default-signal=INT", sys.executable, "-m", "tests.guest", "run", "echo it runs; sleep 600"]
    environ = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(image.TREE)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"it runs\n"
        process.send_signal(signum)
    assert process.returncode == {signal.SIGTERM: 143}.get(signum, -signum)
    wait_until("nothing is left", lambda: leftovers(folder) == [])


def test_a_kernel_that_does_not_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMORY", "4M")
    with pytest.raises(GuestFailed, match="ended without an exit code"):
        run(Job("true"))


@pytest.mark.parametrize("words", [["bin/demo"], ["bin/test", "--guest-shell"]])
def test_a_program_that_is_told_to_end_leaves_nothing(words: list[str]) -> None:
    folder = Path(tempfile.gettempdir())
    environ, null = {**os.environ, "TMPDIR": str(folder)}, subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *words], cwd=image.TREE, stdin=null, stdout=null, stderr=null, env=environ
    )
    wait_until("a guest", lambda: any(one.startswith("/proc/") for one in leftovers(folder)))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    wait_until("nothing is left", lambda: leftovers(folder) == [])


def test_two_runs_at_once_do_not_disturb_each_other_or_the_image() -> None:
    disk = image.build() / "disk"
    before = (disk.stat().st_mtime_ns, _hash(disk))
    jobs = [Job(f"echo {name} > /root/name; sleep 2; cat /root/name; ls /root | wc -l") for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, jobs))
    assert [outcome.output for outcome in outcomes] == ["one\n1\n", "two\n1\n"]
    assert (disk.stat().st_mtime_ns, _hash(disk)) == before


def _hash(disk: Path) -> str:
    with open(disk, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LINE = (
    'audit: type=1400 audit(1.2:3): avc:  denied  { read open } for  pid=7 comm="sh" name="a.txt" dev="x" ino=1 '
    "scontext=system_u:system_r:a_t:s0:c1 tcontext=system_u:object_r:b_t:s0 tclass=file permissive=1"
)


def test_an_avc_record_is_read_field_by_field() -> None:
    avc = audit.parse(LINE)
    assert avc is not None
    assert (avc.permissions, avc.source_type, avc.target_type, avc.tclass) == (("read", "open"), "a_t", "b_t", "file")
    assert (avc.pid, avc.comm, avc.what, avc.permissive, avc.source) == (
        7,
        "sh",
        "a.txt",
        True,
        "system_u:system_r:a_t:s0:c1",
    )


def test_other_lines_are_no_denials() -> None:
    assert audit.denials("avc: granted\naudit: type=1403\n") == ()


def test_the_cache_keeps_the_images_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("base-trixie-old", "base-trixie-new", "trixie-1", "trixie-2", "trixie-3", "forky-1", "trixie-4")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(image, "cache", lambda: Path(folder))
        for second, name in enumerate(names):
            path = Path(folder, name)
            path.mkdir()
            os.utime(path, (second, second))
        image._prune("trixie", Path(folder, "base-trixie-new"), Path(folder, "trixie-4"))
        assert {*os.listdir(folder)} == {*names} - {"base-trixie-old", "trixie-1"}
