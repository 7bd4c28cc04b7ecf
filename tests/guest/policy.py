"""The shipped policy as a file, compiled on the host by the guest userland's own semodule. No kernel is needed.

Decides the version, 33: every setools of the supported distributions reads it. Mistakes of plants.cil are compiled in,
each behind a boolean; planted() switches one on in a copy of the file, as a load with that boolean would.
Called by the tests of what reads policy files.
"""

import shutil
import struct
import tempfile
from pathlib import Path

from tests.guest import fetch, image
from tests.guest.fetch import GuestFailed, command

PLANTS = image.HERE / "plants.cil"
_KEPT = 8  # policies of a suite, 2 MB each
_FOLDER = Path("etc") / "selinux" / "default"
# What semodule would run once the policy is compiled has nothing to do with it.
_CONFIGURATION = "module-store = direct\npolicy-version = 33\nexpand-check = 0\n" + "".join(
    f"[{name}]\npath = /bin/true\n[end]\n" for name in ("setfiles", "sefcontext_compile", "load_policy")
)


def compiled(suite: str = "trixie") -> Path:
    """The folder that holds `policy` and `file_contexts`; made when there is none for these sources."""
    base = _userland(suite)
    sources = [*image._policy(), PLANTS]
    key = image._digest(base.name.encode(), Path(__file__).read_bytes(), *(path.read_bytes() for path in sources))
    target = image.cache() / f"policy-{suite}-{key}"
    with image._lock(f"policy-{suite}"):
        if not target.exists():
            _prune(suite)
            with image._whole(target) as work, tempfile.TemporaryDirectory(prefix="selcgi-policy-") as store:
                _compile(base / "root", Path(store), sources)
                shutil.copy2(Path(store) / _FOLDER / "policy" / "policy.33", work / "policy")
                shutil.copy2(Path(store) / _FOLDER / "contexts" / "files" / "file_contexts", work)
    return target


def _prune(suite: str) -> None:
    """Others, of other working trees, may still be in use."""
    there = [path for path in image.cache().glob(f"policy-{suite}-*") if path.is_dir()]
    for path in sorted(there, key=lambda one: one.stat().st_mtime, reverse=True)[_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def is_there(suite: str) -> bool:
    """Whether its userland need not be fetched."""
    return image.base_of(suite).exists()


def _userland(suite: str) -> Path:
    """Waits for a build of the guest's image only where there is no userland yet."""
    image.cache().mkdir(parents=True, exist_ok=True)
    base = image.base_of(suite)
    if base.exists():
        return base
    with image._lock(suite):
        fetch.check_host()
        return image._base(suite)


def planted(policy: Path, name: str, target: Path) -> Path:
    """A copy of `policy` with the boolean `name` on: before a boolean's name are its value, its state, and its length
    (libsepol's conditional.c, cond_read_bool)."""
    data = bytearray(policy.read_bytes())
    end = struct.pack("<I", len(name)) + name.encode()
    if data.count(end) != 1:
        raise GuestFailed(f"{policy} has no boolean {name}")
    struct.pack_into("<I", data, data.index(end) - 4, 1)
    target.write_bytes(data)
    return target


def loaded(modules: list[Path], store: Path, suite: str = "trixie") -> Path:
    """The userland's own policy with these modules, as a file in `store`."""
    _compile(_userland(suite) / "root", store, modules)
    return store / _FOLDER / "policy" / "policy.33"


def _compile(root: Path, store: Path, sources: list[Path]) -> None:
    """As `semodule -i`, in a copy of the store, with the userland's libraries instead of the host's."""
    shutil.copytree(root / "etc" / "selinux", store / "etc" / "selinux", symlinks=True)
    shutil.copytree(root / "var" / "lib" / "selinux", store / "var" / "lib" / "selinux", symlinks=True)
    (store / "etc" / "selinux" / "semanage.conf").write_text(_CONFIGURATION)
    loader = [root / "lib64" / "ld-linux-x86-64.so.2", "--library-path", root / "usr" / "lib" / "x86_64-linux-gnu"]
    words = [*loader, root / "usr" / "sbin" / "semodule", "-n", "-s", "default", "-p", store, "-i", *sources]
    command([str(word) for word in words])
