"""What may be kept of a request and of an output: everything harmless, nothing secret, in a time that is linear."""

import pytest

from selcgi.wire import environ, redaction
from selcgi.wire.redaction import KEPT, harmless, harmless_head

SECRETS = """
    SELCGI_PROOF HTTP_SELCGI_PROOF HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_COOKIE HTTP_COOKIE2 REMOTE_PASSWD
    HTTP_X_API_KEY HTTP_X_AUTH_TOKEN HTTP_PRIVATE_TOKEN HTTP_X_CSRF_TOKEN HTTP_REFERER HTTP_PROXY DB_PASSWORD
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_what_may_be_secret_is_not_kept(name: str) -> None:
    assert name.encode() not in KEPT


def test_all_that_selcgi_decides_by_is_kept() -> None:
    assert not (environ._SINGLE | environ._COPIED) - KEPT - {b"SELCGI_PROOF"}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("sort=name&page=2", "sort=name&page=2"),
        ("a=1&password=hunter2&b=2", "a=1&password=(removed)&b=2"),
        ("PassWord=a", "PassWord=(removed)"),
        ("user_pwd=a;token=b", "user_pwd=(removed);token=(removed)"),
        ("api_key=a&apikey=b&key=c&keyword=d", "api_key=(removed)&apikey=(removed)&key=(removed)&keyword=d"),
        (
            "code=a&sid=b&state=c&inside=d&postcode=e",
            "code=(removed)&sid=(removed)&state=(removed)&inside=d&postcode=e",
        ),
        ("%70assword=a", "%70assword=(removed)"),
        ("token=", "token=(removed)"),
        ("token", "token"),
        ("/cgi/x?session=1#a", "/cgi/x?session=(removed)"),
        ("http://alice:pw@host/?a=b", "http://(removed)@host/?a=b"),
    ],
)
def test_secrets_of_a_query(query: str, kept: str) -> None:
    assert harmless(query.encode()).decode() == kept


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ("Content-Type: text/plain\r\n\r\npage", "Content-Type: text/plain"),
        ("Set-Cookie: a=b; Path=/\nX-A: 1\n\nx", "Set-Cookie: (removed)\nX-A: 1"),
        ("set-cookie: a=b\n  ; Secure\nX-A: 1", "set-cookie: (removed)\nX-A: 1"),
        ("X-Auth-Token: a\nX-Api-Key: b", "X-Auth-Token: (removed)\nX-Api-Key: (removed)"),
        ("Location: https://x/?code=1&to=/", "Location: https://x/?code=(removed)&to=/"),
        ("Set-Cookie: a", "Set-Cookie: (removed)"),
        ("KeyError: 'a'\nno head at all", "KeyError: 'a'\nno head at all"),
        ("", ""),
    ],
)  # fmt: skip
def test_secrets_of_a_head(output: str, kept: str) -> None:
    assert harmless_head(output.encode()).decode() == kept


@pytest.mark.parametrize("unit", [b"pass", b"a", b"://", b"?", b"a=", b"Set-Cookie", b"\n ", b"-key", b"pass-"])
def test_no_text_takes_long(unit: bytes) -> None:
    """These would take minutes if the time grew with the square of the length."""
    assert harmless(unit * 100_000)


def test_lists_have_no_word_that_says_secret() -> None:
    assert [name for name in KEPT if redaction._is_secret(name)] == []
