"""Params that choose a context: which may have that meaning, and that nothing else becomes of them."""

import pytest

from selcgi.errors import BadRequest, StartRefused
from selcgi.settings import EnvironRules
from selcgi.wire.environ import environ, read_request
from selcgi.wire.passing import check_told_names

MINIMAL = ((b"REQUEST_METHOD", b"GET"), (b"SCRIPT_FILENAME", b"/srv/cgi/x"), (b"SCRIPT_NAME", b"/x"))


@pytest.mark.parametrize(
    "name",
    [
        *("HTTP_UDOMAIN", "QUERY_STRING", "REQUEST_URI", "PATH_INFO", "REMOTE_USER", "REMOTE_IDENT", "SERVER_NAME"),
        *("SCRIPT_NAME", "CONTENT_TYPE", "AUTH_TYPE", "HTTPS", "REDIRECT_AUTHENTICATE_UDOMAIN", "SELCGI_PROOF"),
        *("UNIQUE_ID", "CONTEXT_PREFIX", "udomain", "U-DOMAIN", "1DOMAIN", "", "A B", "\u00c9", "A" * 129),
    ],
)
def test_a_param_whose_value_is_the_clients_chooses_no_context(name: str) -> None:
    with pytest.raises(StartRefused, match="--map param:"):
        check_told_names(["AUTHENTICATE_UDOMAIN", name])


def test_what_chooses_a_context_is_no_param_any_more() -> None:
    pairs = [*MINIMAL, (b"UDOMAIN", b"user_webapp_t"), (b"OTHER", b"x"), (b"UDOMAIN", b"user_webapp_t")]
    request = read_request(pairs, ["UDOMAIN", "ABSENT"])
    assert request.told == (("UDOMAIN", "user_webapp_t"),)
    assert "user_webapp_t" not in repr(request)
    rules = EnvironRules(passed=("UDOMAIN", "OTHER"))
    made = environ(request, b"/srv/cgi/x", b"", rules, "/")
    assert (b"UDOMAIN" in made, made[b"OTHER"]) == (False, b"x")
    assert read_request(pairs).told == ()


@pytest.mark.parametrize("second", [b"staff_webapp_t", b"", b"user_webapp_t "])
def test_two_contexts_that_differ_are_refused(second: bytes) -> None:
    for pairs in ([b"user_webapp_t", second], [second, b"user_webapp_t"]):
        with pytest.raises(BadRequest, match="UDOMAIN came twice"):
            read_request([*MINIMAL, *((b"UDOMAIN", value) for value in pairs)], ["UDOMAIN"])
