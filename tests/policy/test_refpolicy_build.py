"""The files for packagers, built by the Makefile of the guest's Debian and loaded, are the CIL, rule by rule; and the
module for SSSD loads.
"""

import tempfile
from pathlib import Path

import pytest

from tests import refpolicy
from tests.guest import machine, packager, policy
from tests.guest.fetch import command

pytestmark = pytest.mark.guest

PLACE = refpolicy.SOURCE / "refpolicy"
CIL = [refpolicy.SOURCE / name for _, files in refpolicy.MODULES.values() for name in files]
MORE = "selcgi_more.cil"
# In place of the CIL, in the running kernel, and then what they are for.
LOAD = f"""
semodule -r avc -r webapp -r selcgi -i selcgi.pp -i selcgi_avc.pp -i {MORE}
semodule -l | grep selcgi
cd /mnt/src && {{}} -m pytest -q -p no:cacheprovider -m enforcing tests/enforcing/test_confinement.py
"""


def facts(modules: list[Path]) -> set[str]:
    """Of the guest userland's policy with these modules loaded, and of the labels that it gives to places."""
    program = Path(__file__).with_name("facts.py")
    with tempfile.TemporaryDirectory(prefix="selcgi-policy-") as store:
        binary = policy.loaded(modules, Path(store))
        contexts = binary.parent.parent / "contexts" / "files" / "file_contexts"
        places = {f"place {' '.join(line.split())}" for line in contexts.read_text().splitlines()}
        return places | set(command(["/usr/bin/python3", "-I", str(program), str(binary)], timeout=120).splitlines())


def test_built_and_loaded_it_is_the_same_policy(tmp_path: Path) -> None:
    outcome = packager.build(tuple(refpolicy.MODULES), LOAD.format(machine.PYTHON))
    assert outcome.code == 0, outcome.output
    built = [tmp_path / f"{name}.cil" for name in refpolicy.MODULES]
    for path in built:
        path.write_bytes(outcome.files[path.name])
    ours, theirs = facts([*built, PLACE / MORE]), facts(CIL)
    assert len(theirs) > 100_000
    assert {"constraint", "place", "port"} <= {one.partition(" ")[0] for one in theirs}
    assert any(one.startswith("place ") and ":selcgi_exec_t:" in one for one in theirs)
    assert sorted(ours ^ theirs)[:20] == []


def test_the_module_for_sssd_lets_selcgi_ask_it() -> None:
    rules = {tuple(one.split()[1:5]) for one in facts([*CIL, refpolicy.SOURCE / "selcgi-sssd.cil"])}
    assert ("selcgi_t", "sssd_t", "unix_stream_socket", "connectto") in rules
    assert ("selcgi_t", "sssd_public_t", "file", "map") in rules
