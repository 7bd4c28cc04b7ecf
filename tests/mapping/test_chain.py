"""Sources asked in their order: the first that answers decides, a refusal ends, no answer at all is a refusal."""

import pytest

from selcgi.errors import Denied
from selcgi.mapping.chain import Chain, Source
from selcgi.mapping.index import Index
from selcgi.mapping.table import Query, Table
from selcgi.mapping.told import ParamSource

NAME = "AUTHENTICATE_UDOMAIN"


def table(text: str, file: str = "site.map") -> Table:
    return Table([Index(text.encode(), file)])


def param(*domains: str) -> ParamSource:
    return ParamSource(NAME, domains or ("user_webapp_t", "staff_webapp_t"))


def query(user: str | None = "alice", value: str = "") -> Query:
    return Query(user, "/srv/cgi/x", "localhost", ((NAME, value),) if value else ())


def decided(*sources: Source, asked: Query) -> tuple[str, str]:
    """Where the verdict comes from, and the context, or "deny"."""
    try:
        verdict = Chain(sources).decide(asked)
    except Denied as error:
        return error.rule, "deny"
    return verdict.where, str(verdict.spec)


@pytest.mark.parametrize(
    ("user", "value", "where", "context"),
    [
        ("alice", "", "first.map:1", "user_webapp_t:s0:c1"),
        ("alice", "staff_webapp_t:s0:c9", "first.map:1", "user_webapp_t:s0:c1"),
        ("bob", "staff_webapp_t:s0:c9", "first.map:2", "deny"),
        ("carol", "staff_webapp_t:s0:c9", f"param:{NAME}", "staff_webapp_t:s0:c9"),
        ("carol", "", "last.map:1", "anon_webapp_t:s0"),
        ("carol", "deny", f"param:{NAME}", "deny"),
        ("dave", "", "-", "deny"),
    ],
)
def test_the_first_that_answers_decides(user: str, value: str, where: str, context: str) -> None:
    first = table("alice user_webapp_t:s0:c1\nbob deny\n", "first.map")
    last = table("carol anon_webapp_t:s0\n", "last.map")
    asked = query(user, value)
    assert decided(first, param(), last, asked=asked) == (where, context)
    looks = list(Chain((first, param(), last)).trace(asked))
    assert [look.where for look in looks if look.matched] == ([where] if where != "-" else [])
    assert not any(look.matched for look in looks[:-1])


def test_no_answer_of_any_source_is_a_refusal_that_says_whom() -> None:
    with pytest.raises(Denied, match='no rule matches user "dave", script "/srv/cgi/x", host "localhost"'):
        Chain((table("alice deny\n"), param())).decide(query("dave"))


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("user_webapp_t", "user_webapp_t:*"),
        ("user_webapp_t:*", "user_webapp_t:*"),
        ("staff_webapp_t:s0:c1,c3.c5", "staff_webapp_t:s0:c1,c3.c5"),
    ],
)
def test_what_a_param_may_say(value: str, spec: str) -> None:
    verdict = param().answer(query(value=value))
    assert verdict is not None
    assert (str(verdict.spec), verdict.where) == (spec, f"param:{NAME}")
    assert (verdict.sendfile, verdict.account, verdict.overrides) == (False, "", ())


WRONG = {
    "selcgi_t:s0": "is none that a param may choose",
    "unconfined_t": "is none that a param may choose",
    "system_u:system_r:user_webapp_t:s0": "has a user and a role",
    "*": "a name must stand",
    "*:s0:c1": "a name must stand",
    "DENY": "neither deny nor a domain",
    "deny:s0": "neither deny nor a domain",
    " user_webapp_t:s0": "is no SELinux domain",
    "user_webapp_t:s0 ": "is no range",
    "user_webapp_t:s0 sendfile=yes": "is no range",
    "user_webapp_t; staff_webapp_t": "is no SELinux domain",
    "user_webapp_t:s0#": "is no range",
    "user_webapp_t:SystemHigh": "is no range",
    "user_webapp_t:s0:c9.c1": "do not grow",
    "user_webapp_t:s0\n": "is no range",
    "\u0455user_webapp_t": "is no context",
    r"\xff": "is no SELinux domain",
    "user_webapp_t:s0:c{user}": "is no context",
    '"user_webapp_t"': "is no SELinux domain",
    "u" * 1025: "is no context",
}


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value[:40]))
def test_what_is_wrong_is_refused_and_never_passed_over(value: str) -> None:
    """The next source would give more."""
    generous = table("* staff_webapp_t:s0-s0:c0.c1023\n")
    with pytest.raises(Denied, match=WRONG[value]) as caught:
        Chain((param(), generous)).decide(query(value=value))
    assert caught.value.rule == f"param:{NAME}"
    assert caught.value.reason.startswith(NAME)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_the_contexts_that_the_policy_is_asked_for_at_the_start() -> None:
    chain = Chain((table("alice user_webapp_t:s0:c1\nbob deny\n"), param()))
    assert [(str(spec), where) for spec, where in chain.specs()] == [
        ("user_webapp_t:s0:c1", "site.map:1"),
        ("user_webapp_t:*", f"param:{NAME}"),
        ("staff_webapp_t:*", f"param:{NAME}"),
    ]
