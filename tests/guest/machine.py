"""Boots a throwaway copy of an image and runs one command in it, in enforcing mode.

Decides what a failed run is: no exit code came back, whatever the reason. The image is opened read-only beneath a
copy-on-write file; that file, the results and the console live in a folder that goes with the run, even when this
process is killed, as does every process: a session of its own, killed at the end, or by the kernel (PR_SET_PDEATHSIG).
Called by the tests, bin/demo and bin/test.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.guest import audit, image
from tests.guest.fetch import GuestFailed, command

PYTHON = "/opt/selcgi/bin/python"
INITRC = "system_u:system_r:initrc_t:s0"
_CONSOLE_LINES = 25
_MEMORY = "512M"  # of the guest; with more, this kernel was seen to corrupt its own memory
_PR_SET_PDEATHSIG = 1
_NOT_NEEDED = ("systemd-udevd.service", "systemd-udev-trigger.service", "ldconfig.service", "apt-daily.timer")


class KernelDied(GuestFailed):
    """The guest's own kernel panicked or crashed: nothing is known about what ran in it."""


@dataclass(frozen=True)
class Job:
    """One run. `files` go to /mnt/out before it starts, by name; with `share_tree` the tree is at /mnt/src."""

    command: str
    suite: str = "trixie"
    seconds: float = 120.0
    context: str = INITRC
    share_tree: bool = True
    files: Mapping[str, bytes] = field(default_factory=dict)
    live: bool = False  # show the output while it comes
    shell: bool = False  # `command` gets the user's terminal, and all the time it wants
    systemd: bool = False  # as PID 1, for what only it can show; bookworm's is too old for mount-extra
    no_denials: bool = False  # a single one makes the exit code 1
    selinux: bool = True  # False: the same kernel without SELinux, to see what that costs


@dataclass(frozen=True)
class Outcome:
    """`files`: what the command left in /mnt/out. `denials`: every AVC record of the run."""

    code: int
    output: str
    denials: tuple[audit.Avc, ...]
    files: Mapping[str, bytes]
    seconds: float


def run(job: Job) -> Outcome:
    """Boot, run, power off. GuestFailed when the guest did not bring an exit code back in time, KernelDied when it
    can't be blamed on what ran in it."""
    folder = image.build(job.suite)
    began = time.monotonic()
    with _run_folder() as work:
        out = _prepare(work, job)
        status, output = _boot(folder, work, _words(job), job)
        code = out / "code"
        if not code.exists():
            failure = KernelDied if status < 0 else GuestFailed  # a panic ends it by SIGABRT
            raise failure(f"the guest ended without an exit code; its console:\n{_console(work)}\n{output[-2000:]}")
        files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        denials = audit.denials(files["dmesg"].decode(errors="replace"))
        unexpected = denials if job.no_denials else ()
        output += "".join(f"\ndenied, and nobody expected it: {one}" for one in unexpected)
        return Outcome(int(code.read_text()) or len(unexpected[:1]), output, denials, files, time.monotonic() - began)


def label(folder: Path) -> None:
    """The one boot that may write `folder`'s disk: install the policy, label every file."""
    with _run_folder() as work:
        _prepare(work, Job("true"))
        _boot(folder, work, {"JOB": "label"}, Job("true", seconds=300))
        if "labelled" not in _console(work):
            raise GuestFailed(f"the image could not be labelled; its console:\n{_console(work)}")


def _words(job: Job) -> dict[str, str]:
    words = {"JOB": "shell" if job.shell else "run", "CONTEXT": job.context}
    if not job.selinux:
        words |= {"lsm": "yama,tomoyo", "CONTEXT": ""}  # the kernel's own words, less one
    return {**words, "HOSTFS_TREE": "yes"} if job.share_tree else words


def _init(words: Mapping[str, str], job: Job) -> list[str]:
    """The kernel's words that say who is PID 1, what it mounts of the host, and what it starts: kernel-command-line(7),
    systemd-run-generator(8)."""
    if not job.systemd:
        return ["init=/usr/local/lib/guest/init", *(f"{name}={value}" for name, value in words.items())]
    return [
        *("init=/usr/lib/systemd/systemd", "enforcing=1"),
        *("systemd.show_status=no", "systemd.condition_needs_update=no"),
        "systemd.mount-extra=out:/mnt/out:hostfs:hostfs=/out",
        *(["systemd.mount-extra=src:/mnt/src:hostfs:ro,hostfs=/src"] if job.share_tree else []),
        *(f"systemd.setenv={name}={value}" for name, value in words.items()),
        *(f"systemd.mask={name}" for name in _NOT_NEEDED),
        'systemd.run="/bin/bash /usr/local/lib/guest/job"',
        "sysctl.kernel.printk_ratelimit=0",
    ]


def _prepare(work: Path, job: Job) -> Path:
    """`shared` is all that the guest sees of the host: hostfs=DIR on the kernel's command line confines it."""
    out = work / "shared" / "out"
    out.mkdir(parents=True)
    if job.share_tree:
        (work / "shared" / "src").symlink_to(image.TREE)
    (out / "command").write_text(job.command)
    for name, data in job.files.items():
        (out / name).write_bytes(data)
    return out


def _boot(folder: Path, work: Path, words: Mapping[str, str], job: Job) -> tuple[int, str]:
    """Run the kernel until it ends or the time is over. How it ended, below 0 by a signal; what the command printed."""
    line = [*_kernel(folder, work, words.get("JOB") == "label", job.shell), *_init(words, job)]
    with open(work / "console", "wb") as console, open(work / "output", "wb") as output, _processor() as number:
        process = subprocess.Popen(
            line,
            stdin=None if job.shell else subprocess.DEVNULL,
            stdout=None if job.shell or job.live else output,
            stderr=console,
            env={"HOME": str(work), "TMPDIR": _memory_folder()},
            start_new_session=not job.shell,
            preexec_fn=lambda: _tie_to_parent(number),
        )
        try:
            process.wait(None if job.shell else job.seconds)
        except subprocess.TimeoutExpired:
            raise GuestFailed(
                f"the guest did not end within {job.seconds:g} s; its console:\n{_console(work)}\n"
                f"{(work / 'output').read_text(errors='replace')[-2000:]}"
            ) from None
        finally:
            _end(process, job.shell)
    return process.returncode, (work / "output").read_text(errors="replace")


def _kernel(folder: Path, work: Path, writable: bool, shell: bool) -> list[str]:
    disk = folder / "disk"
    terminal = "con1=fd:0,fd:1" if shell else "con1=null,fd:1"
    return [
        str(folder / "linux.uml"),
        f"ubd0={disk}" if writable else f"ubd0={work}/changes,{disk}",
        *("root=/dev/ubda", "rw", f"mem={_MEMORY}"),
        *("con=null", "con0=null,fd:2", terminal, "quiet", "loglevel=1"),
        *("noreboot", "panic=-1", "seccomp=on", "log_buf_len=4M", "audit_backlog_limit=8192"),
        # A ring of io_uring that is mapped while a process ends corrupts this kernel's memory; libuv makes one.
        "sysctl.kernel.io_uring_disabled=2",
        *(f"uml_dir={work}/", "umid=guest", f"hostfs={work}/shared"),
    ]


def _tie_to_parent(processor: int) -> None:
    """In the child, before the kernel starts. One processor only: the guest is two to four times faster that way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, {processor})


def _end(process: subprocess.Popen[bytes], shell: bool) -> None:
    """The kernel and its user processes. A SIGKILL to the first takes the others along; the group is for the rest."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if not shell else process.kill()
    process.wait()


def _console(work: Path) -> str:
    lines = (work / "console").read_text(errors="replace").splitlines()
    panic = next((number for number, line in enumerate(lines) if "Kernel panic" in line), len(lines))
    first = min(panic, max(0, len(lines) - _CONSOLE_LINES))
    return "\n".join(f"  | {line}" for line in lines[first : first + _CONSOLE_LINES])


def _memory_folder() -> str:
    """Where the guest's memory file lies, unlinked from the start: RAM where it is roomy and executable."""
    shm = os.statvfs("/dev/shm")
    roomy = shm.f_bavail * shm.f_frsize > 1 << 30 and not shm.f_flag & os.ST_NOEXEC
    return "/dev/shm" if roomy else tempfile.gettempdir()


@contextlib.contextmanager
def _run_folder() -> Iterator[Path]:
    """Removed at the end of a pipe that this process alone holds, so also when it is killed. The second try is for a
    guest that dies of that too, but a moment later."""
    work = Path(tempfile.mkdtemp(prefix="selcgi-guest-"))
    words = ["sh", "-c", 'cat; rm -rf "$0" || { sleep 1; rm -rf "$0"; }', str(work)]
    null = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True):
        yield work


@contextlib.contextmanager
def _processor() -> Iterator[int]:
    """A processor that no other guest of this user is on, or any."""
    processors = sorted(os.sched_getaffinity(0))
    for number in processors:
        with open(image.cache() / f"processor-{number}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    yield processors[os.getpid() % len(processors)]


def pytest_job(marks: str, selection: str, suite: str, seconds: float = 300.0, *, systemd: bool = False,
               no_denials: bool = False) -> Job:  # fmt: skip
    """A job that runs a pytest selection in the guest, with selcgi's own Python; results in junit.xml."""
    options = f"-p no:cacheprovider -m '{marks}' --junitxml=/mnt/out/junit.xml"
    # Hypothesis keeps its examples beside the tests, which are not writable there.
    environ = "HYPOTHESIS_STORAGE_DIRECTORY=/run/hypothesis"
    command = f"cd /mnt/src && {environ} {PYTHON} -m pytest -q {options} {selection}"
    return Job(command, suite, seconds, systemd=systemd, no_denials=no_denials)


def demo_job(words: str, suite: str, seconds: float, *, installed: bool, shell: bool) -> Job:
    """The demo: from the shared tree, or with selcgi installed by pip on the guest's disk and no tree in sight."""
    if not installed:
        return Job(f"cd /mnt/src && {PYTHON} -m tests.demo {words}", suite, seconds, live=True, shell=shell)
    command = f"""set -e
        mkdir /opt/tree && tar -x -C /opt/tree -f /mnt/out/tree.tar && cd /opt/tree
        /opt/selcgi/bin/pip install -q --no-index --find-links=/opt/wheels --no-build-isolation /opt/tree
        mv selcgi selcgi-is-installed
        rm /opt/selcgi/lib/python*/site-packages/tree.pth
        restorecon -RF /opt
        {PYTHON} -m tests.demo {words}"""
    return Job(command, suite, seconds, share_tree=False, files={"tree.tar": tree()}, live=True, shell=shell)


def tree() -> bytes:
    """The tracked files of the working tree, as they are now."""
    names = command(["git", "-C", str(image.TREE), "ls-files", "-z"])
    return subprocess.run(
        ["tar", "-c", "-C", str(image.TREE), "--null", "-T", "-"],
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
