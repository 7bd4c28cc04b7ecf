"""Requests to a web server, byte for byte."""

import pytest

from selcgi.diagnose.webclient import Target, basic, chunked, head, parse_url, send
from selcgi.errors import StartRefused
from tests.servers import free_port


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", Target("http", "h", 80, "h", "/")),
        ("https://h/a%20b?c=d#e", Target("https", "h", 443, "h", "/a%20b?c=d")),
        ("http://[::1]:8080/x", Target("http", "::1", 8080, "[::1]:8080", "/x")),
    ],
)
def test_a_url(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    "url",
    ["", "h", "ftp://h/", "http:///x", "http://u:p@h/", "http://h/a b", "http://h/\r\nX: y", "http://h/é",
     "http://h:99999/", "http://h:x/", "http://[::1/"],
)  # fmt: skip
def test_no_url(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - urllib's own sentences among them
        parse_url(url)


def test_a_request_is_sent_as_it_is_written() -> None:
    target = parse_url("http://h:8/x?y")
    assert head(target, "GET", [("REMOTE_USER", "a"), ("REMOTE_USER", "b")]) == (
        b"GET /x?y HTTP/1.1\r\nHost: h:8\r\nConnection: close\r\nREMOTE_USER: a\r\nREMOTE_USER: b\r\n\r\n"
    )
    assert head(target, "GET", [], absolute=True).startswith(b"GET http://h:8/x?y HTTP/1.1\r\n")
    assert basic("alice", "geheim:é") == ("Authorization", "Basic YWxpY2U6Z2VoZWltOsOp")
    assert chunked(b"x" * 10_001) == b"2710\r\n" + b"x" * 10_000 + b"\r\n1\r\nx\r\n0\r\n\r\n"


def test_nobody_listens() -> None:
    target = parse_url(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(StartRefused, match="no web server answers"):
        send(target, head(target, "GET", []))
