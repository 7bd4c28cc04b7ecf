"""Where the script of a request may lie, as five web servers spell it, and what of the URL is then its name.

What is decoded, and above all what is not, is a matter of who may run what: the web server's own rules go by the URL.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BadRequest
from selcgi.wire import paths
from selcgi.wire.environ import environ
from selcgi.wire.paths import script_paths
from tests.wire.test_environ import RULES, SCRIPT, found, read

# What each web server sends, beside PLAIN; the candidate that must come first; what the script must be told.
SERVERS = json.loads((Path(__file__).parent.parent / "data/wire/servers.json").read_text())


@pytest.mark.parametrize("case", SERVERS.values(), ids=SERVERS)
def test_script_of_each_web_server(case: dict[str, Any]) -> None:
    request = read(**case["sent"])
    assert request.script_paths[0] == case["first"].encode()
    told = environ(request, *found(request.script_paths, {SCRIPT}), RULES, "/")
    path_info = case["path_info"].encode()
    assert told[b"SCRIPT_FILENAME"] == SCRIPT
    assert (told[b"SCRIPT_NAME"], told.get(b"PATH_INFO", b"")) == (case["script_name"].encode(), path_info)
    assert told.get(b"PATH_TRANSLATED", b"") == (b"/srv/cgi" + path_info if path_info else b"")


def test_proxied_script_with_a_blank_is_tried_literally_then_decoded() -> None:
    request = read(
        SCRIPT_FILENAME="proxy:fcgi://localhost:9000/srv/cgi/my%20x.cgi/100%2525", SCRIPT_NAME="/my x.cgi/100%25"
    )
    assert request.script_paths == (b"/srv/cgi/my%20x.cgi/100%2525", b"/srv/cgi/my x.cgi/100%25")
    told = environ(request, *found(request.script_paths, {b"/srv/cgi/my x.cgi"}), RULES, "/")
    assert (told[b"SCRIPT_NAME"], told[b"PATH_INFO"]) == (b"/my x.cgi", b"/100%25")


def test_script_with_a_blank_behind_the_generic_backend() -> None:
    """Apache takes the prefix off, but does not decode: only its SCRIPT_NAME tells."""
    request = read(SCRIPT_FILENAME="/srv/cgi/my%20x.cgi/a%20b", SCRIPT_NAME="/cgi-bin/my x.cgi/a b")
    assert request.script_paths == (b"/srv/cgi/my%20x.cgi/a%20b", b"/srv/cgi/my x.cgi/a b")
    told = environ(request, *found(request.script_paths, {b"/srv/cgi/my x.cgi"}), RULES, "/")
    assert (told[b"SCRIPT_NAME"], told[b"PATH_INFO"]) == (b"/cgi-bin/my x.cgi", b"/a b")


# What a client makes of http://h/%2561dmin/x.cgi, by each way to spell it: the web server let /%61dmin/ in.
@pytest.mark.parametrize("prefix", ["", "proxy:fcgi://localhost"])
@pytest.mark.parametrize(
    "sent",
    [
        {"SCRIPT_NAME": "/%61dmin/x.cgi"},
        {"SCRIPT_NAME": "/%61dmin/x.cgi", "PATH_INFO": "/admin/x.cgi"},
        {"SCRIPT_NAME": "/%61dmin/x.cgi/admin/x.cgi", "PATH_INFO": "/admin/x.cgi"},
        {"SCRIPT_NAME": "/cgi-bin/%61dmin/x.cgi"},
        {"SCRIPT_NAME": "/app"},
        {"SCRIPT_NAME": None, "REQUEST_URI": "/%2561dmin/x.cgi"},
    ],
)
def test_no_path_is_decoded_a_second_time(prefix: str, sent: dict[str, str | None]) -> None:
    paths = read(SCRIPT_FILENAME=f"{prefix}/srv/cgi/%61dmin/x.cgi", **sent).script_paths
    assert [path for path in paths if not path.startswith(b"/srv/cgi/%61dmin/")] == []


SEGMENTS = st.lists(st.sampled_from(["a", "%61", "%2561", "%2e%2e", "..", "%2f", "x.cgi", "%"]), min_size=1, max_size=6)


@given(SEGMENTS, st.integers(0, 6), st.sampled_from(["", "/cgi-bin"]))
@settings(max_examples=300)
def test_path_that_is_in_the_url_as_it_stands_is_never_decoded(segments: list[str], cut: int, place: str) -> None:
    """nginx and its like make file name and URL of one decoded path, split as they may be."""
    url = "".join(f"/{segment}" for segment in segments)
    extra = "".join(f"/{segment}" for segment in segments[cut:])
    for name in (url, url.removesuffix(extra)):
        paths = read(SCRIPT_FILENAME="/srv/cgi" + name, SCRIPT_NAME=place + url, PATH_INFO=extra).script_paths
        assert all(path.startswith(f"/srv/cgi{name}".encode()) for path in paths)


def test_nul_does_not_come_by_decoding() -> None:
    """A param with a NUL in it is refused, so no URL can say that the path has one."""
    paths = read(SCRIPT_FILENAME="proxy:fcgi://h/srv/x%00", SCRIPT_NAME="/x").script_paths
    assert paths == (b"/srv/x%00",)


GIT = "/usr/lib/git-core/git-http-backend"


@pytest.mark.parametrize(
    ("path_info", "name"), [("/project.git/info/refs", "/git"), ("/git/project.git/info/refs", "")]
)
def test_script_that_the_url_does_not_name(path_info: str, name: str) -> None:
    """nginx, as most put it before git: SCRIPT_NAME by fastcgi_params, which is the whole path."""
    url = "/git/project.git/info/refs"
    uri = f"{url}?service=git-upload-pack"
    request = read(SCRIPT_FILENAME=GIT, SCRIPT_NAME=url, PATH_INFO=path_info, REQUEST_URI=uri)
    told = environ(request, *found(request.script_paths, {GIT.encode()}), RULES, "/")
    assert (told[b"SCRIPT_NAME"].decode(), told[b"PATH_INFO"].decode()) == (name, path_info)


def test_query_behind_a_plain_file_name_is_the_second_guess() -> None:
    request = read(SCRIPT_FILENAME="/srv/cgi/x.cgi?a=b", QUERY_STRING="a=b")
    assert request.script_paths == (b"/srv/cgi/x.cgi?a=b", b"/srv/cgi/x.cgi")
    request = read(SCRIPT_FILENAME="/srv/cgi/x.cgi?a=%2f", QUERY_STRING="a=%2f")
    assert request.script_paths == (b"/srv/cgi/x.cgi?a=%2f", b"/srv/cgi/x.cgi")


NOT_ABSOLUTE = (None, "", "srv/x.cgi", "proxy:fcgi://localhost", "proxy:http://localhost/srv/x.cgi")


@pytest.mark.parametrize("named", [*NOT_ABSOLUTE, "/" + "x" * 8192])
def test_no_script_is_a_bad_request_that_says_what_to_send(named: str | None) -> None:
    with pytest.raises(BadRequest, match=r"named no script; .*fastcgi_param SCRIPT_FILENAME|longer than 8192 bytes"):
        read(SCRIPT_FILENAME=named, DOCUMENT_ROOT="srv")


def test_path_info_without_a_slash_never_changes_the_name_of_the_script() -> None:
    assert read(PATH_INFO=".bak").script_paths == (b"/srv/cgi/x.cgi",)


# What a client makes of http://h/x.cgi%3Fa?a: the web server's rules for /x.cgi were not asked.
@pytest.mark.parametrize("query", ["a", ""])
@pytest.mark.parametrize("sent", [{"SCRIPT_NAME": "/x.cgi?"}, {"SCRIPT_NAME": "/x.cgi", "PATH_INFO": "?"}])
@pytest.mark.parametrize("prefix", ["", "proxy:fcgi://localhost"])
def test_a_question_mark_of_the_path_stays_in_it(prefix: str, sent: dict[str, str], query: str) -> None:
    last = list(sent)[-1]
    request = read(
        SCRIPT_FILENAME=f"{prefix}/srv/cgi/x.cgi?{query}", QUERY_STRING=query, **{**sent, last: sent[last] + query}
    )
    assert b"/srv/cgi/x.cgi" not in request.script_paths


def test_a_question_mark_that_the_web_server_has_cut_off_is_refused() -> None:
    with pytest.raises(BadRequest, match="question mark"):
        read(SCRIPT_FILENAME="/srv/cgi/x.cgi", SCRIPT_NAME="/x.cgi?a", QUERY_STRING="a")


def test_one_in_path_info_is_none_of_the_scripts_name() -> None:
    request = read(SCRIPT_FILENAME="/srv/cgi/x.cgi", SCRIPT_NAME="/x.cgi", PATH_INFO="/a?b", QUERY_STRING="b")
    assert b"/srv/cgi/x.cgi/a?b" in request.script_paths


PIECES = st.lists(st.sampled_from(["/", "//", "a", "b.cgi", "%20", "?", "x=1", ".", "\n"]), max_size=5).map("".join)


@given(PIECES, PIECES, PIECES)
@settings(max_examples=500)
def test_what_can_be_read_in_one_way_only_is_read_as_all_else(named: str, url: str, query: str) -> None:
    values = {"SCRIPT_FILENAME": f"/{named}", "SCRIPT_NAME": url, "QUERY_STRING": query}
    params = {name.encode(): value.encode() for name, value in values.items()}
    if only := paths._only_spelling(params):
        spellings = dict.fromkeys(b"/" + one.lstrip(b"/") for one in paths._spellings(params))
        assert script_paths(params) == (only,) == tuple(spellings)
