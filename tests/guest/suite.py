"""Which tests run inside the guest, and which of their files share a boot.

Decides the order: what takes longest begins first, so that no processor is idle at the end. A file that changes the
policy has a guest of its own, since nothing is taken back there; the others leave it as they found it. Must not boot.
Called by bin/test.
"""

from tests.guest.image import TREE
from tests.guest.machine import Job, pytest_job

_FOLDER = TREE / "tests" / "enforcing"
_SECONDS = 480.0
NEED_SYSTEMD = ("unit", "listener_unit", "warm_unit")  # as PID 1
# Files of one boot each, begun in this order; each of the rest has a boot of its own after them.
_FIRST = (
    ("learn",),
    ("limits", "listener", "metrics", "relabel", "separation", "sources", "terminal"),
    ("ending",),
    ("doctor_system",),
    ("unit",),
    ("warm", "warm_birth", "warm_denials", "warm_hostile", "web"),
    ("categories", "confinement", "contract", "control", "core_dumps", "levels"),
    ("doctor_places",),
    ("denials",),
    ("doctor",),
)
# Tests of the host that depend on the version of Python, or of the libc.
_ON_ITS_OWN = ("tests/wire tests/mapping", "tests/launch tests/system/test_cgroups.py tests/system/test_posixspawn.py")
_ON_EACH_PYTHON = "tests/zygote"  # as a fresh interpreter of that version: hundreds are started, so with --long alone


def boots() -> list[tuple[str, ...]]:
    """The files of tests/enforcing, by what their names have between test_ and .py."""
    names = [path.stem.removeprefix("test_") for path in sorted(_FOLDER.glob("test_*.py"))]
    begun = [name for few in _FIRST for name in few]
    return [*_FIRST, *((name,) for name in names if name not in begun)]


def jobs(suite: str, *, long: bool) -> dict[str, Job]:
    """By what they run."""
    found: dict[str, Job] = {}
    for names in boots():
        systemd = not set(names).isdisjoint(NEED_SYSTEMD)
        if systemd and suite == "bookworm":  # its systemd can't mount the tree
            continue
        what = " ".join(str((_FOLDER / f"test_{name}.py").relative_to(TREE)) for name in names)
        found[what] = pytest_job("enforcing", what, suite, _SECONDS, systemd=systemd)
    for what in (*_ON_ITS_OWN, *((_ON_EACH_PYTHON,) if long else ())):
        found[what] = pytest_job("not enforcing and not guest", what, suite, _SECONDS, no_denials=True)
    return found
