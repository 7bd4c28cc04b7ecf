"""Each user's script runs in the user's context, reads and writes the user's data, and is refused that of others."""

import itertools
import os

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.stack import Selcgi

pytestmark = pytest.mark.enforcing

CONTEXT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
cat /proc/self/attr/current
"""
USERS = sorted(site.CONTEXTS)


@pytest.mark.parametrize("user", USERS)
def test_a_script_runs_in_its_users_context(selcgi: Selcgi, user: str) -> None:
    path = site.script("context.cgi", CONTEXT)
    answer = run_as(selcgi, path, user)
    assert answer.status == 200
    assert answer.text.strip("\0\n") == site.context_of(user)
    assert selcgi.entry()["context"] == site.context_of(user)


def test_a_user_without_a_rule_is_refused_and_nothing_is_started(selcgi: Selcgi) -> None:
    path = site.script("context.cgi", CONTEXT)
    assert run_as(selcgi, path, "carol").status == 403
    entry = selcgi.entry()
    assert (entry["step"], entry["exit"], entry["rule"]) == ("mapping", "", "-")
    assert "carol" in entry["reason"]


@pytest.mark.parametrize("user", USERS)
def test_each_reads_and_writes_its_own_and_reads_what_is_public(selcgi: Selcgi, user: str) -> None:
    own = str(site.OWN[user][0])
    tried = attempt(selcgi, user, f"open({own!r})", f"open({own!r}, 'a')", f"open({str(site.PUBLIC)!r})")
    assert tried == ["ok", "ok", "ok"]


@pytest.mark.parametrize(("user", "other"), list(itertools.permutations(USERS, 2)))
def test_the_kernel_refuses_the_data_of_others(selcgi: Selcgi, avcs: Claims, user: str, other: str) -> None:
    """By type between domains, by categories within one. All files are of mode 0666."""
    path, label = site.OWN[other]
    assert path.stat().st_mode & 0o777 == 0o666
    tried = attempt(selcgi, user, f"open({str(path)!r})", f"open({str(path)!r}, 'a')")
    assert tried == ["EACCES", "EACCES"]
    source, target = site.CONTEXTS[user].split(":")[0], label.split(":")[0]
    refused = [avcs.expect(source, target, "file", permission) for permission in ("read", "append")]
    for denial in refused:
        assert (denial.source, denial.target) == (site.context_of(user), f"system_u:object_r:{label}")


def test_a_new_file_has_its_users_level(selcgi: Selcgi) -> None:
    for user in ("alice", "bob"):
        own, label = site.OWN[user]
        new = own.with_name(f"{user}-new.txt")
        assert attempt(selcgi, user, f"open({str(new)!r}, 'w')") == ["ok"]
        assert os.getxattr(new, "security.selinux").decode().strip("\0") == f"system_u:object_r:{label}"
        new.unlink()


def test_a_followed_redirect_runs_by_the_rule_of_its_own_script() -> None:
    """One request, two processes: the first says on stderr what it was."""
    text = "#!/bin/sh\ncat /proc/self/attr/current >&2\nprintf 'Location: /cgi-bin/context.cgi\\n\\n'\n"
    first = site.script("first.cgi", text)
    site.script("context.cgi", CONTEXT)
    site.write(site.MAP, "alice staff_webapp_t:s0 script=*/first.cgi\n" + site.rules())
    try:
        with site.serving("--local-redirects") as selcgi:
            answer = run_as(selcgi, first, "alice")
    finally:
        site.write(site.MAP, site.rules())
    contexts = ["system_u:system_r:staff_webapp_t:s0", site.context_of("alice")]
    assert [text.decode().strip("\0\n") for text in (answer.stderr, answer.body)] == contexts
    assert [entry["context"] for entry in selcgi.entries()] == contexts
