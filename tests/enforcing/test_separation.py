"""Each user's script runs in the user's context, reads and writes the user's data, and is refused that of others."""

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.stack import Ask, Selcgi, ask

pytestmark = pytest.mark.enforcing

CONTEXT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
cat /proc/self/attr/current
"""


@pytest.mark.parametrize("user", sorted(site.CONTEXTS))
def test_a_script_runs_in_its_users_context(selcgi: Selcgi, user: str) -> None:
    path = site.script("context.cgi", CONTEXT)
    answer = ask(selcgi.socket, Ask(str(path), user))
    assert answer.status == 200
    assert answer.text.strip("\0\n") == site.context_of(user)
    assert selcgi.entry()["context"] == site.context_of(user)


def test_a_user_without_a_rule_is_refused_and_nothing_is_started(selcgi: Selcgi, avcs: Claims) -> None:
    path = site.script("context.cgi", CONTEXT)
    assert ask(selcgi.socket, Ask(str(path), "carol")).status == 403
    entry = selcgi.entry()
    assert (entry["step"], entry["exit"], entry["rule"]) == ("mapping", "", "-")
    assert "carol" in entry["reason"]
