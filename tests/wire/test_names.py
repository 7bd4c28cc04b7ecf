"""Names of params that were seen to be good once, and what a client can make of that."""

import pytest

from selcgi.wire import environ as module
from selcgi.wire.environ import read_request


def test_names_of_a_client_are_kept_if_they_are_few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was seen to be good once, and need not be looked at again; nobody can fill the memory with them."""
    monkeypatch.setattr(module, "_names", set(module._KNOWN))
    read_request([(b"REQUEST_METHOD", b"GET"), (b"SCRIPT_FILENAME", b"/srv/x.cgi"), (b"HTTP_" + b"A" * 8000, b"")])
    read_request([(b"REQUEST_METHOD", b"GET"), (b"SCRIPT_FILENAME", b"/srv/x.cgi"), (b"HTTP_X_SHORT", b"")])
    for number in range(1000):
        read_request([(b"REQUEST_METHOD", b"GET"), (b"SCRIPT_FILENAME", b"/x.cgi"), (b"HTTP_X_%d" % number, b"")])
    assert b"HTTP_X_SHORT" in module._names
    assert len(module._names) == 512
    assert max(map(len, module._names)) <= 64
