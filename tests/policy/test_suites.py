"""The shipped modules load into the policy of each supported Debian, by its own semodule, in a store of their own; and
there, too, the demo's users are kept apart and nothing is found wrong.

In those userlands alone that are in the cache: the others would have to be fetched, as `bin/test --long` does first.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from selcgi.cli.audit_map import audit_map
from selcgi.cli.doctor import doctor
from tests.enforcing import site
from tests.guest import policy
from tests.guest.fetch import PYTHONS

pytestmark = pytest.mark.guest

USUAL = "trixie"
UNREADABLE = "forky"  # by the libsepol of Debian 12; the other two can be read by any that is supported


@pytest.fixture(params=PYTHONS)
def suite(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name != USUAL and not policy.is_there(name):
        pytest.skip(f"the userland of {name} is not in the cache: bin/test --long fetches it")
    return name


def test_the_modules_load(suite: str) -> None:
    found = policy.compiled(suite)
    whole = (found / "policy").read_bytes()
    assert all(name in whole for name in (b"selcgi_t", b"user_webapp_t", b"selcgi_avc_t", b"httpd_t"))
    contexts = (found / "file_contexts").read_text()
    assert "/opt/selcgi/bin/selcgi-avc" in contexts
    assert "/srv/data/user/.*" in contexts


def test_the_mapping_of_the_demo_is_without_findings(suite: str, tmp_path: Path) -> None:
    if suite == UNREADABLE:
        pytest.skip(f"the policy of {suite} is newer than the libsepol of other machines")
    found = policy.compiled(suite)
    mapping = tmp_path / "site.map"
    mapping.write_text(site.rules())
    scripts = tmp_path / "tree" / "srv" / "cgi"
    scripts.mkdir(parents=True)
    (scripts / "one.cgi").write_text("#!/usr/bin/env python3\n")
    (scripts / "one.cgi").chmod(0o755)
    apart = CliRunner().invoke(audit_map, [str(mapping), "--policy", str(found / "policy")])
    assert apart.output.splitlines()[-1] == "4 contexts, no findings"
    where = ["--file-contexts", str(found / "file_contexts"), "--prefix", str(tmp_path / "tree")]
    asked = CliRunner().invoke(doctor, ["--json", "--map", str(mapping), "--policy", str(found / "policy"), *where])
    told = json.loads(asked.output)
    assert [one for one in told["faults"] if one["severity"] != "note"] == []
    assert told["looked_at"] == {"contexts": 4, "scripts": 1}
