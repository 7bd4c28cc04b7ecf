"""The files for packagers, built by the Makefile that a suite of Debian has for such modules, in its own userland.

Decides where that Makefile and its programs come from: the suite's packages, which nothing else in the guest needs, and
which so are installed in the throwaway guest alone. Called by tests/policy/test_refpolicy_build.py.
"""

import shutil
from pathlib import Path

from tests.guest import fetch, image, machine
from tests.guest.fetch import command

_PACKAGE = "selinux-policy-dev"
_MAKEFILE = "/usr/share/selinux/devel/Makefile"
_TO_CIL = "/usr/libexec/selinux/hll/pp"
_FOLDER = "/run/packager"


def build(names: tuple[str, ...], then: str, suite: str = "trixie") -> machine.Outcome:
    """Build these modules of contrib/selinux/refpolicy, and run `then`, shell commands, beside the packages. Among the
    outcome's files is NAME.cil, what semodule makes of NAME.pp. Enforcing, in initrc_t."""
    packages = " ".join(f"{name}.pp" for name in names)
    shell = f"""set -e
        dpkg --force-depends -i /mnt/out/*.deb > /run/installed 2>&1 || {{ cat /run/installed; exit 1; }}
        mkdir {_FOLDER}
        cp /mnt/src/contrib/selinux/refpolicy/selcgi* {_FOLDER}
        cd {_FOLDER}
        make -f {_MAKEFILE} {packages}
        for name in {" ".join(names)}; do {_TO_CIL} $name.pp > /mnt/out/$name.cil; done
        {then}"""
    files = {path.name: path.read_bytes() for path in _debs(suite).glob("*.deb")}
    return machine.run(machine.Job(shell, suite, 400.0, files=files))


def _debs(suite: str) -> Path:
    """The packages that the suite's userland lacks for it, as its own list of what is installed says."""
    image.build(suite)
    base = image.base_of(suite)
    target = base.with_name(f"devel-{base.name.removeprefix('base-')}")
    with image._lock(f"devel-{suite}"):
        if not target.exists():
            for old in image.cache().glob(f"devel-{suite}-*"):
                shutil.rmtree(old)
            with image._whole(target) as work:
                _download(work, suite, base / "root" / "var" / "lib" / "dpkg" / "status")
    return target


def _download(work: Path, suite: str, status: Path) -> None:
    apt = work / "apt"
    environ = fetch._private_apt(apt, fetch.archive())
    sources = apt / "sources.list"
    sources.write_text(sources.read_text().replace(fetch.KERNEL_SUITE, suite))
    with open(apt / "apt.conf", "a") as options:
        options.write(f'Dir::State::status "{status}";\n')
    command(["apt-get", "update", "-q"], env=environ)
    command(["apt-get", "install", "-y", "-q", "--download-only", "--no-install-recommends", _PACKAGE], env=environ)
    for deb in (apt / "cache" / "archives").glob("*.deb"):
        shutil.move(deb, work)
    shutil.rmtree(apt)
