"""The shipped web servers wait longer than selcgi: so its 504 is what a client gets, and its log has the reason.

By themselves nginx and Apache give up after 60 seconds, as selcgi does, and who is first is chance. lighttpd and Caddy
have no such limit; HAProxy has none unless it is set.
"""

import re
from pathlib import Path

import pytest

from selcgi.settings import Settings

CONTRIB = Path(__file__).resolve().parent.parent / "contrib"
PATIENCE = {
    "nginx/selcgi-params.conf": r"^fastcgi_read_timeout (\d+)s;",
    "apache/selcgi.conf": r"^\s*ProxyTimeout (\d+)$",
    "apache/selcgi-ldap.conf": r"^\s*ProxyTimeout (\d+)$",
    "apache/selcgi-dbd.conf": r"^\s*ProxyTimeout (\d+)$",
    "apache/selcgi-fcgid.conf": r"^\s*FcgidIOTimeout (\d+)$",
    "haproxy/selcgi.cfg": r"^\s*timeout server (\d+)s$",
}


@pytest.mark.parametrize("name", PATIENCE)
def test_web_server_waits_for_the_answer_to_a_request_that_ran_out_of_time(name: str) -> None:
    settings = Settings()
    found = re.findall(PATIENCE[name], (CONTRIB / name).read_text(), re.MULTILINE)
    assert len(found) == 1
    assert int(found[0]) > settings.limits.total_seconds + settings.kill_grace_seconds
