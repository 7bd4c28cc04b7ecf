"""Params of five web servers as they send them, and what a script is told of them; then contradictions and garbage.

`found` plays the part of the script opener: it cuts the first candidate in which a known script lies.
"""

import os
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BadRequest, StartRefused
from selcgi.settings import EnvironRules
from selcgi.wire.environ import Request, check_passed_names, environ, read_request

Pairs = list[tuple[bytes, bytes]]
RULES = EnvironRules()
SCRIPT = b"/srv/cgi/x.cgi"
PLAIN = {
    "REQUEST_METHOD": "GET",
    "QUERY_STRING": "",
    "SERVER_NAME": "a.example",
    "SCRIPT_FILENAME": "/srv/cgi/x.cgi",
    "SCRIPT_NAME": "/x.cgi",
    "DOCUMENT_ROOT": "/srv/cgi",
}
FIXED_NAMES = frozenset(
    b"GATEWAY_INTERFACE SERVER_SOFTWARE SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_ADDR REQUEST_METHOD QUERY_STRING "
    b"REMOTE_ADDR REMOTE_PORT REMOTE_HOST REQUEST_URI REQUEST_SCHEME DOCUMENT_ROOT HTTPS SCRIPT_FILENAME SCRIPT_NAME "
    b"PATH_INFO PATH_TRANSLATED CONTENT_LENGTH CONTENT_TYPE REMOTE_USER AUTH_TYPE PATH HOME".split()
)


def pairs(**changes: str | None) -> Pairs:
    """PLAIN with changes; None takes a param out."""
    return [(name.encode(), os.fsencode(value)) for name, value in (PLAIN | changes).items() if value is not None]


def read(**changes: str | None) -> Request:
    return read_request(pairs(**changes))


def made(rules: EnvironRules = RULES, **changes: str | None) -> dict[bytes, bytes]:
    request = read(**changes)
    return environ(request, *found(request.script_paths, {SCRIPT}), rules, "/home/cgi")


def found(candidates: Iterable[bytes], scripts: set[bytes]) -> tuple[bytes, bytes]:
    for candidate in candidates:
        for script in scripts:
            if candidate == script or candidate.startswith(script + b"/"):
                return script, candidate.removeprefix(script)
    raise AssertionError(f"no script in {candidates!r}")


# Each: what the web server sends, the candidate that must come first, SCRIPT_NAME and PATH_INFO for the script.
SERVERS = {
    "nginx, fastcgi.conf without split": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/foo bar", "SCRIPT_NAME": "/x.cgi/foo bar", "CONTENT_LENGTH": ""},
        (b"/srv/cgi/x.cgi/foo bar", b"/x.cgi", b"/foo bar"),
    ),
    "nginx, alias by location and $uri": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/a//b/", "SCRIPT_NAME": "/cgi-bin/x.cgi/a//b/"},
        (b"/srv/cgi/x.cgi/a//b/", b"/cgi-bin/x.cgi", b"/a//b/"),
    ),
    "nginx, fastcgi_split_path_info": (
        {"PATH_INFO": "/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "nginx, split, and SCRIPT_NAME $uri": (
        {"SCRIPT_NAME": "/x.cgi/foo", "PATH_INFO": "/foo", "REQUEST_URI": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "nginx, split, but neither name uses it": (
        {
            "SCRIPT_FILENAME": "/srv/cgi/x.cgi/foo",
            "SCRIPT_NAME": "/x.cgi/foo",
            "PATH_INFO": "/foo",
            "REQUEST_URI": "/x.cgi/foo?q",
        },
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "nginx, fastcgi_params has no SCRIPT_FILENAME": (
        {"SCRIPT_FILENAME": None, "SCRIPT_NAME": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "nginx, path like the script": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/x.cgi", "SCRIPT_NAME": "/x.cgi/x.cgi"},
        (b"/srv/cgi/x.cgi/x.cgi", b"/x.cgi", b"/x.cgi"),
    ),
    "Apache, SetHandler": (
        {
            "SCRIPT_FILENAME": "proxy:fcgi://localhost/srv/cgi/x.cgi",
            "SCRIPT_NAME": "/cgi-bin/x.cgi",
            "PATH_INFO": "/foo bar",
            "REQUEST_URI": "/cgi-bin/x.cgi/foo%20bar",
        },
        (b"/srv/cgi/x.cgi/foo bar", b"/cgi-bin/x.cgi", b"/foo bar"),
    ),
    "Apache, SetHandler, percent sign in PATH_INFO": (
        {
            "SCRIPT_FILENAME": "proxy:fcgi://localhost/srv/cgi/x.cgi",
            "SCRIPT_NAME": "/x.cgi",
            "PATH_INFO": "/100%25",
            "REQUEST_URI": "/x.cgi/100%2525",
        },
        (b"/srv/cgi/x.cgi/100%25", b"/x.cgi", b"/100%25"),
    ),
    "Apache, SetHandler, path like the script": (
        {
            "SCRIPT_FILENAME": "proxy:fcgi://localhost//srv/cgi/x.cgi",
            "PATH_INFO": "/x.cgi",
            "REQUEST_URI": "/x.cgi/x.cgi",
        },
        (b"/srv/cgi/x.cgi/x.cgi", b"/x.cgi", b"/x.cgi"),
    ),
    "Apache, SetHandler with a closing slash": (
        {"SCRIPT_FILENAME": "proxy:fcgi://localhost//srv/cgi/x.cgi", "SCRIPT_NAME": "/cgi-bin/x.cgi"},
        (b"/srv/cgi/x.cgi", b"/cgi-bin/x.cgi", b""),
    ),
    "Apache, generic backend": (
        {"SCRIPT_FILENAME": "//srv/cgi/x.cgi", "SCRIPT_NAME": "/cgi-bin/x.cgi", "PATH_INFO": "/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/cgi-bin/x.cgi", b"/foo"),
    ),
    "Apache, ProxyPass": (
        {
            "SCRIPT_FILENAME": "proxy:fcgi://127.0.0.1:9000/srv/cgi/x.cgi/foo%20bar",
            "SCRIPT_NAME": "/cgi-bin/x.cgi/foo bar",
            "REQUEST_URI": "/cgi-bin/x.cgi/foo%20bar",
        },
        (b"/srv/cgi/x.cgi/foo%20bar", b"/cgi-bin/x.cgi", b"/foo bar"),
    ),
    "Apache, ProxyPass, percent sign in the path": (
        {
            "SCRIPT_FILENAME": "proxy:fcgi://127.0.0.1:9000/srv/cgi/x.cgi/100%2525",
            "SCRIPT_NAME": "/x.cgi/100%25",
        },
        (b"/srv/cgi/x.cgi/100%2525", b"/x.cgi", b"/100%25"),
    ),
    "Apache, balancer with a query": (
        {
            "SCRIPT_FILENAME": "proxy:balancer://pool/srv/cgi/x.cgi/foo?a=b/c",
            "QUERY_STRING": "a=b/c",
            "SCRIPT_NAME": "/x.cgi/foo",
        },
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "lighttpd": (
        {"PATH_INFO": "/foo", "CONTENT_LENGTH": "0", "REDIRECT_STATUS": "200", "REQUEST_URI": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "lighttpd, break-scriptfilename-for-php": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/foo", "PATH_INFO": "/foo", "REQUEST_URI": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "HAProxy, path-info": (
        {"PATH_INFO": "/foo", "SERVER_NAME": "a.example:8080", "REQUEST_URI": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "HAProxy, no path-info": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/foo", "SCRIPT_NAME": "/x.cgi/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "Caddy, split": (
        {"PATH_INFO": "/foo", "CONTENT_LENGTH": "-1", "REMOTE_USER": "", "AUTH_TYPE": ""},
        (b"/srv/cgi/x.cgi/foo", b"/x.cgi", b"/foo"),
    ),
    "Caddy, no split": (
        {
            "SCRIPT_FILENAME": "/srv/cgi",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/x.cgi/foo bar",
            "REQUEST_URI": "/x.cgi/foo%20bar?q",
        },
        (b"/srv/cgi/x.cgi/foo bar", b"/x.cgi", b"/foo bar"),
    ),
    "Caddy, no split, prefix taken off": (
        {
            "SCRIPT_FILENAME": "/srv/cgi",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/x.cgi/foo",
            "REQUEST_URI": "http://a.example/in/x.cgi/foo",
        },
        (b"/srv/cgi/x.cgi/foo", b"/in/x.cgi", b"/foo"),
    ),
    "a name of its own for the script": (
        {"SCRIPT_NAME": "/app", "PATH_INFO": "/foo"},
        (b"/srv/cgi/x.cgi/foo", b"/app", b"/foo"),
    ),
    "its own name, and a path like the script": (
        {"SCRIPT_NAME": "/app", "PATH_INFO": "/x.cgi", "REQUEST_URI": "/app/x.cgi"},
        (b"/srv/cgi/x.cgi/x.cgi", b"/app", b"/x.cgi"),
    ),
    "slashes merged in the file name only": (
        {"SCRIPT_FILENAME": "/srv/cgi/x.cgi/a/b", "SCRIPT_NAME": "/x.cgi/a//b"},
        (b"/srv/cgi/x.cgi/a/b", b"/x.cgi", b"/a/b"),
    ),
}


@pytest.mark.parametrize(("sent", "wanted"), SERVERS.values(), ids=SERVERS)
def test_script_of_each_web_server(sent: dict[str, str | None], wanted: tuple[bytes, bytes, bytes]) -> None:
    first, name, path_info = wanted
    request = read(**sent)
    told = environ(request, *found(request.script_paths, {SCRIPT}), RULES, "/")
    assert request.script_paths[0] == first
    assert (told[b"SCRIPT_FILENAME"], told[b"SCRIPT_NAME"], told.get(b"PATH_INFO", b"")) == (SCRIPT, name, path_info)
    assert told.get(b"PATH_TRANSLATED", b"") == (b"/srv/cgi" + path_info if path_info else b"")


def test_proxied_script_with_a_blank_is_tried_literally_then_decoded() -> None:
    request = read(
        SCRIPT_FILENAME="proxy:fcgi://localhost:9000/srv/cgi/my%20x.cgi/100%2525", SCRIPT_NAME="/my x.cgi/100%25"
    )
    assert request.script_paths == (b"/srv/cgi/my%20x.cgi/100%2525", b"/srv/cgi/my x.cgi/100%25")
    told = environ(request, *found(request.script_paths, {b"/srv/cgi/my x.cgi"}), RULES, "/")
    assert (told[b"SCRIPT_NAME"], told[b"PATH_INFO"]) == (b"/my x.cgi", b"/100%25")


def test_percent_signs_are_decoded_for_the_proxy_form_alone() -> None:
    assert read(SCRIPT_FILENAME="/srv/cgi/x%2ecgi").script_paths == (b"/srv/cgi/x%2ecgi",)
    assert read(SCRIPT_FILENAME="proxy:fcgi://h/srv/x%00").script_paths == (b"/srv/x%00",)


def test_query_behind_a_plain_file_name_is_the_second_guess() -> None:
    request = read(SCRIPT_FILENAME="/srv/cgi/x.cgi?a=b", QUERY_STRING="a=b")
    assert request.script_paths == (b"/srv/cgi/x.cgi?a=b", b"/srv/cgi/x.cgi")


@pytest.mark.parametrize(
    "changes",
    [
        {"SCRIPT_FILENAME": None, "SCRIPT_NAME": None},
        {"SCRIPT_FILENAME": "", "DOCUMENT_ROOT": "srv"},
        {"SCRIPT_FILENAME": "srv/x.cgi"},
        {"SCRIPT_FILENAME": "proxy:fcgi://localhost"},
        {"SCRIPT_FILENAME": "proxy:http://localhost/srv/x.cgi"},
        {"SCRIPT_FILENAME": "/" + "x" * 4096},
    ],
)
def test_no_script_is_a_bad_request_that_says_what_to_send(changes: dict[str, str | None]) -> None:
    with pytest.raises(BadRequest, match=r"named no script; .*fastcgi_param SCRIPT_FILENAME"):
        read(**changes)


def test_path_info_without_a_slash_never_changes_the_name_of_the_script() -> None:
    assert read(PATH_INFO=".bak").script_paths == (b"/srv/cgi/x.cgi",)
