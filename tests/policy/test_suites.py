"""The shipped modules load into the policy of each supported Debian, by its own semodule, in a store of their own.

Without --long into that of the guest's usual userland alone, since the others are userlands to fetch.
"""

import os

import pytest

from tests.guest import policy
from tests.guest.fetch import PYTHONS

SUITES = tuple(PYTHONS) if os.environ.get("SELCGI_TEST_LONG") == "1" else ("trixie",)


@pytest.mark.long
@pytest.mark.parametrize("suite", SUITES)
def test_the_modules_load(suite: str) -> None:
    found = policy.compiled(suite)
    whole = (found / "policy").read_bytes()
    assert all(name in whole for name in (b"selcgi_t", b"user_webapp_t", b"selcgi_avc_t", b"httpd_t"))
    contexts = (found / "file_contexts").read_text()
    assert "/opt/selcgi/bin/selcgi-avc" in contexts
    assert "/srv/data/user/.*" in contexts
