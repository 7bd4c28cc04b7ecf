"""The files for packagers, built by the distribution's own Makefile and loaded, say what the CIL says, rule by rule."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests import refpolicy
from tests.guest import policy
from tests.guest.fetch import command

pytestmark = pytest.mark.guest

MAKEFILE = "/usr/share/selinux/devel/Makefile"
PLACE = refpolicy.SOURCE / "refpolicy"
CIL = [refpolicy.SOURCE / name for name in refpolicy.FILES]


def built(folder: Path) -> list[Path]:
    """The package, and what that language can't say."""
    for end in ("te", "if", "fc"):
        shutil.copy2(PLACE / f"selcgi.{end}", folder)
    command(["make", "-f", MAKEFILE, "selcgi.pp"], cwd=folder, timeout=120)
    return [folder / "selcgi.pp", PLACE / "selcgi_more.cil"]


def facts(modules: list[Path]) -> set[str]:
    """Of the guest userland's policy with these modules loaded, and of the labels that it gives to places."""
    program = Path(__file__).with_name("facts.py")
    with tempfile.TemporaryDirectory(prefix="selcgi-policy-") as store:
        binary = policy.loaded(modules, Path(store))
        contexts = binary.parent.parent / "contexts" / "files" / "file_contexts"
        places = {f"place {' '.join(line.split())}" for line in contexts.read_text().splitlines()}
        return places | set(command(["/usr/bin/python3", "-I", str(program), str(binary)], timeout=120).splitlines())


def test_built_and_loaded_it_is_the_same_policy(tmp_path: Path) -> None:
    ours, theirs = facts(built(tmp_path)), facts(CIL)
    assert len(theirs) > 100_000
    assert {"constraint", "place", "port"} <= {one.partition(" ")[0] for one in theirs}
    assert any(one.startswith("place ") and ":selcgi_exec_t:" in one for one in theirs)
    assert sorted(ours ^ theirs)[:20] == []
