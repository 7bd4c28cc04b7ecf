"""What the image is made of, from the host's own package sources: the kernel, the userland, the wheels.

Decides versions only where a fact demands it: the kernel is Debian forky's, the first whose user-mode-linux has
SELinux and runs on current processors. Signatures are always checked; a release file past its date is accepted, since
mirrors may lag, and said. Called by image.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

KERNEL_SUITE = "forky"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# program -> Debian package
HOST_PROGRAMS = {"mmdebstrap": "mmdebstrap", "patchelf": "patchelf", "mkfs.ext4": "e2fsprogs", "dpkg-deb": "dpkg"}
PACKAGES = (
    "selinux-policy-default,selinux-utils,policycoreutils,policycoreutils-python-utils,semodule-utils,python3,"
    "python3-venv,python3-selinux,nginx-light,apache2,apache2-utils,haproxy,perl,git,curl,procps,iproute2,mount,"
    "passwd,util-linux,libc6-dev,systemd"
)
COMPILERS = {"bookworm": "tcc", "trixie": "tcc", "forky": "gcc"}  # forky has no tcc, which is a tenth of gcc's size
WHEELS = ("flup", "click", "uvloop", "pytest", "hypothesis", "setuptools", "wheel")
PYTHONS = {"bookworm": "3.11", "trixie": "3.13", "forky": "3.14"}
_KERNEL_FILES = ("linux.uml", "libc.so.6", "ld-linux-x86-64.so.2")


class GuestFailed(Exception):
    """The guest could not be built, did not start, hung or died; the message ends with what it last said."""


def command(words: list[str], **options: object) -> str:
    """Run a program of the host; its stdout. GuestFailed with its last lines when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise GuestFailed(f"{words[0]} failed with exit code {done.returncode}:\n{last}")
    return str(done.stdout)


def check_host() -> None:
    """GuestFailed when a program that the build needs is missing."""
    missing = sorted({package for name, package in HOST_PROGRAMS.items() if shutil.which(name, path=_path()) is None})
    if missing:
        raise GuestFailed(f"missing programs, run: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if os.uname().machine != "x86_64":
        raise GuestFailed("user-mode-linux exists for x86_64 only")


def archive() -> str:
    """The address of a Debian archive, as the host's own apt configuration names it."""
    lines = command(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]).splitlines()
    for line in lines:
        origin, label, uri = line.split("|", 2)
        if origin == "Debian" and label == "Debian":
            return uri.rstrip("/")
    raise GuestFailed("apt knows no Debian archive: see apt-get indextargets, and run apt-get update")


def kernel(folder: Path, archive_uri: str) -> None:
    """linux.uml with the C library it wants, into `folder`; runs on an older host by an own loader."""
    work = folder / "apt"
    environ = _private_apt(work, archive_uri)
    command(["apt-get", "update", "-q"], env=environ)
    for package in ("user-mode-linux", "libc6"):
        command(["apt-get", "download", "-q", package], env=environ, cwd=work)
    for deb in work.glob("*.deb"):
        command(["dpkg-deb", "-x", str(deb), str(work / "files")])
    for name in _KERNEL_FILES:
        found = [path for path in (work / "files").rglob(name) if path.is_file() and not path.is_symlink()]
        if not found:
            raise GuestFailed(f"{KERNEL_SUITE}'s packages hold no {name}")
        shutil.copy2(found[0], folder / name)
    shutil.rmtree(work)


def point_kernel_at(folder: Path, binary: Path) -> None:
    """The loader's place is part of the program: set it once the folder has its final name."""
    loader = folder / _KERNEL_FILES[2]
    command(["patchelf", "--set-interpreter", str(loader), "--set-rpath", str(folder), str(binary)], env=_environ())


def userland(folder: Path, suite: str, archive_uri: str) -> None:
    """A Debian tree in `folder`, services unstarted; the slow part of a build."""
    options = ["APT::Install-Recommends false", 'Acquire::Check-Valid-Until "false"', 'APT::Sandbox::User "root"']
    command(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=apt",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            *(f"--aptopt={option}" for option in options),
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")),
            f"--include={PACKAGES},{COMPILERS[suite]}",
            suite,
            str(folder),
            f"deb [signed-by={KEYRING}] {archive_uri} {suite} main",
        ],
        env=_environ(),
    )


def wheels(folder: Path, suite: str) -> None:
    """What selcgi and its tests need from PyPI, for the guest's Python, by the host's pip and its configuration."""
    platforms = [f"--platform={tag}_x86_64" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    command(
        [
            sys.executable,
            *("-m", "pip", "download", "-q", "--only-binary=:all:", "--implementation=cp"),
            f"--python-version={PYTHONS[suite]}",
            *platforms,
            "--platform=any",
            f"--dest={folder}",
            *WHEELS,
        ]
    )


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8", **more}


def _private_apt(work: Path, archive_uri: str) -> dict[str, str]:
    """An apt that knows the kernel's suite only and shares nothing with the host's."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive_uri} {KERNEL_SUITE} main\n")
    (work / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{work}/sources.list";\n'
        'Dir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::Lists "{work}/lists";\n'
        f'Dir::Cache "{work}/cache";\n'
        'Dir::State::status "/dev/null";\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Check-Valid-Until "false";\n'
    )
    return _environ(APT_CONFIG=str(work / "apt.conf"))
