"""The guest's disk, in two cached layers: the userland (a minute), and policy, labels and program (seconds).

Decides when something must be made anew: each layer's name holds a hash of all it is made of. A layer is built under
another name and renamed when whole; a lock keeps two builds apart. A finished image is read-only and never changed.
Called by machine.py, tests/conftest.py and bin/test.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tests.guest import fetch
from tests.guest.fetch import GuestFailed, command

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
SUITES = tuple(fetch.PYTHONS)
_KEPT = 3  # images of a suite: another working tree, or an edit taken back, may still want one
_SIZE = "3G"  # of the sparse disk
_INSIDE = "usr/local/lib/guest"
_BYTECODE = "opt/selcgi/bytecode"  # where every Python of the guest looks for it, and root's adds that of the tree
# What selcgi and its tests import: compiled once here, not in each guest. -p is an import that pytest has a hand in.
_IMPORTS = ("asyncio", "click", "flup.server.fcgi_base", "hypothesis", "ssl", "uvloop", "xml.etree.ElementTree")
_COMPILE = f"import pytest; pytest.main([*'--collect-only -q -p {' -p '.join(_IMPORTS)} /mnt/out'.split()])"


def cache() -> Path:
    """Where images live; the caller's to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "selcgi" / "guest"


def build(suite: str = "trixie") -> Path:
    """The folder that holds `disk`, `linux.uml` and its libraries; made when there is none for these sources."""
    if suite not in SUITES:
        raise GuestFailed(f"no suite {suite!r}, there are {', '.join(SUITES)}")
    cache().mkdir(parents=True, exist_ok=True)
    image = cache() / f"{suite}-{_image_key(suite)}"
    with _lock(suite):
        if not (image / "disk").exists():
            fetch.check_host()
            base = _base(suite)
            _finish(base, image)
            _prune(suite, base, image)
        os.utime(image)
    return image


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _base_key(suite: str) -> str:
    year, week, _ = date.today().isocalendar()
    names = "|".join((suite, fetch.PACKAGES, *fetch.WHEELS, f"{year}-{week}"))  # a new week brings security updates
    return _digest(names.encode(), Path(fetch.__file__).read_bytes())


def _image_key(suite: str) -> str:
    sources = [path.read_bytes() for path in (Path(__file__), *_policy(), *sorted((HERE / "inside").iterdir()))]
    return _digest(_base_key(suite).encode(), *sources)


def _policy() -> list[Path]:
    return [*sorted((TREE / "contrib" / "selinux").glob("*.cil")), HERE / "guesttest.cil"]


def base_of(suite: str) -> Path:
    """Where the folder of its userland is, or would be."""
    return cache() / f"base-{suite}-{_base_key(suite)}"


def _base(suite: str) -> Path:
    """The userland as a folder, with the kernel beside it."""
    base = base_of(suite)
    if base.exists():
        return base
    with _whole(base) as work:
        uri = fetch.archive()
        with _progress(f"kernel ({fetch.KERNEL_SUITE})"):
            fetch.kernel(work, uri)
        with _progress(f"userland ({suite}, about 250 MB on disk)"):
            fetch.userland(work / "root", suite, uri)
        with _progress("Python packages"):
            fetch.wheels(work / "root" / "opt" / "wheels", suite)
            _venv(work / "root", suite)
    return base


def _venv(root: Path, suite: str) -> None:
    """A plain virtual environment, as a user would make one: it does not see the distribution's SELinux binding."""
    chroot = ["chroot", str(root)]
    command([*chroot, "useradd", "--system", "--home-dir", "/var/lib/selcgi", "--shell", "/usr/sbin/nologin", "selcgi"])
    command([*chroot, "python3", "-m", "venv", "/opt/selcgi"])
    pip = ["/opt/selcgi/bin/pip", "install", "-q", "--no-index", "--find-links=/opt/wheels"]
    command([*chroot, *pip, *fetch.WHEELS])
    packages = root / "opt" / "selcgi" / "lib" / f"python{fetch.PYTHONS[suite]}" / "site-packages"
    (packages / "tree.pth").write_text("/mnt/src\n")


def _finish(base: Path, image: Path) -> None:
    """Policy and guest scripts in, then one boot that installs the one and labels everything."""
    from tests.guest.machine import label

    with _whole(image) as work:
        for path in base.iterdir():
            if path.is_file():
                shutil.copy2(path, work / path.name)
        fetch.point_kernel_at(work, work / "linux.uml")
        with _progress("disk"):
            _fill(base / "root")
            command(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", "-d", str(base / "root"),
                     str(work / "disk"), _SIZE], env=fetch._environ())  # fmt: skip
        with _progress("policy and labels"):
            label(work)
        (work / "disk").chmod(0o444)
    # The folder has its final name now.
    fetch.point_kernel_at(image, image / "linux.uml")


def _fill(root: Path) -> None:
    shutil.rmtree(root / _INSIDE, ignore_errors=True)
    shutil.copytree(HERE / "inside", root / _INSIDE)
    policy = root / _INSIDE / "policy"
    policy.mkdir()
    for path in _policy():
        shutil.copy2(path, policy)
    for folder in ("mnt/src", "mnt/out"):
        (root / folder).mkdir(exist_ok=True)
    shutil.rmtree(root / _BYTECODE, ignore_errors=True)
    python = ["chroot", str(root), "env", "-i", f"PYTHONPYCACHEPREFIX=/{_BYTECODE}", "/opt/selcgi/bin/python"]
    command([*python, "-c", _COMPILE])


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder to build in, that gets its name when it is complete and vanishes when it can't be."""
    work = target.with_name(f"{target.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _lock(suite: str) -> Iterator[None]:
    with open(cache() / f"{suite}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _progress(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"guest: {what} ...", file=sys.stderr, flush=True)
    yield
    print(f"guest: {what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _prune(suite: str, base: Path, image: Path) -> None:
    """Only the images used last stay, and the userland that they are made from now."""
    for path in cache().glob(f"base-{suite}-*"):
        if path != base:
            shutil.rmtree(path, ignore_errors=True)
    images = sorted(cache().glob(f"{suite}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in [one for one in images if one != image][_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
