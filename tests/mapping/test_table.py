"""First match wins: the table answers like a scan of all rules, and says why."""

import pytest

from selcgi.context import ContextSpec
from selcgi.errors import Denied, MappingError
from selcgi.mapping import index
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.table import Query, Table, Verdict
from selcgi.plan import Limits

SITE = """\
# a comment, so that the first rule is on line 2
alice   user_webapp_t:s0:c1  script=/srv/cgi/reports/* timeout=120s memory=512M
alice   staff_webapp_t:s0:c1 host=intranet.example.org sendfile=yes uid=reports warm=wsgi
g*      user_webapp_t:s0:c2
alice   deny
__anonymous__  anon_webapp_t:s0 host=www.example.org
greta   staff_webapp_t
"""


def table(text: str = SITE) -> Table:
    return Table([Index(text.encode(), "/etc/selcgi/site.map")])


def decide(rules: Table, asked: Query) -> Verdict:
    return Chain([rules]).decide(asked)


def query(user: str | None, script: str = "/srv/cgi/index", host: str = "www.example.org") -> Query:
    return Query(user, script, host)


def test_first_match_wins() -> None:
    assert decide(table(), query("alice", "/srv/cgi/reports/x")).where == "site.map:2"
    assert decide(table(), query("alice", host="intranet.example.org")).where == "site.map:3"
    assert decide(table(), query("greta")).spec == ContextSpec("user_webapp_t", "s0:c2")  # the glob stands before her
    assert decide(table(), query(None)).spec == ContextSpec("anon_webapp_t", "s0")


def test_named_rule_before_a_glob_wins() -> None:
    both = table("greta staff_webapp_t\ng* user_webapp_t\n")
    assert decide(both, query("greta")).spec.domain == "staff_webapp_t"
    assert decide(both, query("gustav")).spec.domain == "user_webapp_t"


def test_verdict_carries_what_the_rule_sets() -> None:
    verdict = decide(table(), query("alice", host="intranet.example.org"))
    assert (verdict.sendfile, verdict.account, verdict.warm) == (True, "reports", "wsgi:application")
    assert verdict.limits(Limits()) == Limits()
    verdict = decide(table(), query("alice", "/srv/cgi/reports/x"))
    assert (verdict.sendfile, verdict.account, verdict.warm) == (False, "", "")
    assert verdict.limits(Limits(cpu_seconds=3)) == Limits(total_seconds=120, memory_bytes=512 << 20, cpu_seconds=3)


def test_every_limit_reaches_the_plan() -> None:
    clocks, sizes = "timeout=1 first-byte-timeout=2 idle-timeout=3", "max-body=4 memory=5 cpu=6 processes=7 files=8"
    verdict = decide(table(f"* user_webapp_t {clocks} {sizes} file-size=9 max=10 nice=11 cpus=1.2"), query("alice"))
    assert verdict.limits(Limits()) == Limits(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1.2)


def test_deny_names_its_rule() -> None:
    with pytest.raises(Denied) as caught:
        decide(table(), query("alice"))
    assert (caught.value.rule, caught.value.reason) == ("site.map:5", "rule site.map:5 says deny")
    assert caught.value.status == 403


def test_no_match_is_a_no() -> None:
    with pytest.raises(Denied) as caught:
        decide(table(), query("carol"))
    assert caught.value.rule == "-"
    assert (
        str(caught.value) == 'no rule matches user "carol", script "/srv/cgi/index", host "www.example.org"; '
        "add a line to the mapping file"
    )
    with pytest.raises(Denied, match="no rule matches a request without a user, script"):
        decide(table(), query(None, host="example.com"))
    with pytest.raises(Denied, match="no rule matches"):
        decide(table(""), query("alice"))


def test_reason_is_one_short_line_whatever_the_client_sent() -> None:
    with pytest.raises(Denied) as caught:
        decide(table(), query("x\nrule site.map:1 matches", "/" + "y" * 100_000, "\x1b[2J\u202e"))
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 1000


def test_user_with_a_special_name_is_a_user() -> None:
    special = table('__anonymous__ anon_webapp_t\n"*" deny\n')
    for user in ("__anonymous__", "alice"):
        with pytest.raises(Denied, match="no rule matches"):
            decide(special, query(user))
    with pytest.raises(Denied, match="says deny"):
        decide(special, query("*"))


@pytest.mark.parametrize("host", ["intern.example.org", "INTERN.Example.ORG", "intern.example.org."])
def test_host_has_no_case_and_no_last_dot(host: str) -> None:
    guarded = table("* deny host=Intern.example.org\n* user_webapp_t\n")
    with pytest.raises(Denied, match=r"rule site\.map:1 says deny"):
        decide(guarded, query("alice", host=host))


def test_script_has_case() -> None:
    with pytest.raises(Denied, match="no rule matches"):
        decide(table("* user_webapp_t script=/srv/CGI/*\n"), query("alice"))


def test_trace_ends_at_the_match() -> None:
    steps = table().trace(query("alice", host="intranet.example.org"))
    assert [(step.rule.line, step.matched) for step in steps] == [(2, False), (3, True)]
    assert [step.why for step in steps] == [
        'script "/srv/cgi/index" is not matched by "/srv/cgi/reports/*"',
        "matches: staff_webapp_t:s0:c1",
    ]


def test_trace_says_why_nothing_matched() -> None:
    steps = table().trace(query("carol"))
    assert [(step.rule.line, step.why) for step in steps] == [(4, '"carol" is not g*'), (6, "the request has a user")]
    steps = table().trace(query(None, host="example.com"))
    assert [(step.rule.line, step.why) for step in steps] == [
        (4, "the request has no user"),
        (6, 'host "example.com" is not matched by "www.example.org"'),
    ]
    assert table().trace(query("alice"))[-1].why == "matches, and says deny"


def test_specs_are_distinct_and_name_their_first_rule() -> None:
    text = "a user_webapp_t:s0\nb deny\nc user_webapp_t:s0\nd user_webapp_t:*\ne user_webapp_t\n"
    assert tuple(table(text).templates()) == (
        (ContextSpec("user_webapp_t", "s0"), "site.map:1"),
        (ContextSpec("user_webapp_t"), "site.map:4"),
    )


@pytest.mark.parametrize("who", ["alice", "a*", "*", "__anonymous__"])
def test_rules_to_try_for_a_request_are_bounded(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CONSIDERED", 3)
    line = f"{who} user_webapp_t script=/srv/*\n"
    assert table(line * 3)
    with pytest.raises(MappingError, match="more than 3 rules") as caught:
        table(line * 4)
    assert (caught.value.file, caught.value.line) == ("/etc/selcgi/site.map", 4)


def test_rules_of_several_files_keep_their_order() -> None:
    both = Table([Index(b"alice deny script=/a\n", "one.map"), Index(b"* user_webapp_t\nalice deny\n", "two.map")])
    assert decide(both, query("alice")).where == "two.map:1"
    with pytest.raises(Denied, match=r"one\.map:1"):
        decide(both, query("alice", "/a"))
