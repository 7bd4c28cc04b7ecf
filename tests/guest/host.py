"""The programs of the host that the guest needs, installed by apt-get when they are missing. Called by bin/."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.guest.fetch import HOST_PROGRAMS, GuestFailed

POLICY = Path("/usr/sbin/policy-rc.d")


def install_host_programs(programs: Mapping[str, str] = HOST_PROGRAMS) -> None:
    """`programs`: name or path -> Debian package. Says what it installs. GuestFailed when it can't."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    there = {name for name in programs if shutil.which(name, path=path) or Path("/", name).is_file()}
    missing = sorted({package for name, package in programs.items() if name not in there})
    if missing:
        install_packages(missing)


def install_packages(packages: list[str]) -> None:
    """Debian packages, by apt-get, without starting what they bring."""
    line = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise GuestFailed(f"missing packages; as root on Debian, run: {' '.join(line)}")
    print(f"installing (no service is started): {' '.join(packages)}", file=sys.stderr, flush=True)
    with no_service_starts(), tempfile.TemporaryFile() as output:
        _apt_get(["apt-get", "update", "-q"], output)
        if _apt_get(line, output) != 0:
            output.seek(0)
            raise GuestFailed(f"{' '.join(line)} failed:\n{output.read().decode(errors='replace')[-2000:]}")


def _apt_get(words: list[str], output: IO[bytes]) -> int:
    """Its exit code. If this program is told to end, so are apt-get and dpkg: not one of them goes on without
    policy-rc.d."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    told: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))  # until it is known whom to end
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGTERM, handler)
    try:
        if told:
            signal.raise_signal(signal.SIGTERM)
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


def end_on_sigterm() -> None:
    """SIGTERM becomes an exception, as Ctrl-C is one, so that what was begun is undone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def no_service_starts() -> Iterator[None]:
    """policy-rc.d answers 101, "forbidden", while packages are unpacked (invoke-rc.d(8)); one that is there stays."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
