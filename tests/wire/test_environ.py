"""What a script is told of a request; contradictions and garbage. Where its script lies is test_paths.py's.

`found` plays the part of the script opener: it cuts the first candidate in which a known script lies.
"""

import os
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi import VERSION
from selcgi.errors import BadRequest, StartRefused
from selcgi.settings import EnvironRules
from selcgi.wire import environ as module
from selcgi.wire.environ import VARIABLE_BYTES, Request, environ, read_request
from selcgi.wire.passing import check_passed_names

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
    b"GATEWAY_INTERFACE SERVER_SOFTWARE SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_ADDR REQUEST_METHOD "
    b"QUERY_STRING REMOTE_ADDR REMOTE_PORT REMOTE_HOST REQUEST_URI REQUEST_SCHEME DOCUMENT_ROOT HTTPS SCRIPT_FILENAME "
    b"SCRIPT_NAME PATH_INFO PATH_TRANSLATED CONTENT_LENGTH CONTENT_TYPE REMOTE_USER AUTH_TYPE PATH HOME".split()
)
WITHHELD = frozenset(
    b"HTTP_ HTTP_PROXY HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE".split()
)
SECRET = (
    *WITHHELD,
    *b"SELCGI_PROOF REMOTE_PASSWD LD_PRELOAD LD_LIBRARY_PATH BASH_ENV IFS REDIRECT_REMOTE_USER SSL_X PATH HOME".split(),
)
SINGLE = (
    *("REMOTE_USER", "AUTH_TYPE", "SCRIPT_FILENAME", "SCRIPT_NAME", "PATH_INFO", "CONTENT_LENGTH", "DOCUMENT_ROOT"),
    *("REQUEST_METHOD", "QUERY_STRING", "REQUEST_URI", "SELCGI_PROOF", "HTTP_HOST"),
)
DANGEROUS = (
    *("LD_PRELOAD", "PATH", "HOME", "IFS", "ENV", "BASH_ENV", "BASH_FUNC_X", "SHELLOPTS", "PERL5LIB", "PYTHONPATH"),
    *("RUBYOPT", "GCONV_PATH", "HTTP_PROXY", "SELCGI_PROOF", "REMOTE_USER", "AUTH_TYPE", "REMOTE_PASSWD"),
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


@pytest.mark.parametrize("name", SINGLE)
def test_contradiction_is_refused_by_name_and_repetition_is_not(name: str) -> None:
    sent = [pair for pair in pairs() if pair[0] != name.encode()]
    twice = [*sent, (name.encode(), b"7secret"), (name.encode(), b"8secret")]
    with pytest.raises(BadRequest, match=rf"^{name} came twice") as caught:
        read_request(twice)
    assert "secret" not in str(caught.value)
    same = dict(pairs(**{name: PLAIN.get(name, "12")}))[name.encode()]
    read_request([*sent, (name.encode(), same), (name.encode(), same)])


def test_other_repetitions_join_or_the_last_counts() -> None:
    twice = [(b"HTTP_ACCEPT", b"a"), (b"HTTP_COOKIE", b"k=1"), (b"SERVER_PORT", b"80")]
    again = [(b"HTTP_ACCEPT", b"b"), (b"HTTP_COOKIE", b"l=2"), (b"SERVER_PORT", b"81")]
    params = read_request([*pairs(), *twice, *again]).params
    assert [params[name] for name, _ in twice] == [b"a, b", b"k=1; l=2", b"81"]


def test_names_that_no_variable_has_are_dropped() -> None:
    odd = [(b"HTTP_X.DOT", b"1"), (b"remote_user", b"eve"), (b"9A", b"1"), (b"A=B", b"1"), (b"A\n", b"1"), (b"", b"1")]
    assert read_request([*pairs(), *odd]) == read()


def test_nul_in_a_value_is_refused_even_where_the_name_is_dropped() -> None:
    for name in (b"HTTP_X", b"SELCGI_PROOF", b"x.y", b"x\ny", b"\x1b[2J"):
        with pytest.raises(BadRequest, match="has a NUL in it") as caught:
            read_request([*pairs(), (name, b"a\0b")])
        assert caught.value.reason.isprintable()


def test_user_is_a_name_or_nobody() -> None:
    assert read(REMOTE_USER="").user is None
    assert read(REDIRECT_REMOTE_USER="root").user is None
    assert read(REMOTE_USER="J\u00fcrgen M\u00fcller@A").user == "J\u00fcrgen M\u00fcller@A"
    assert read(REMOTE_USER="x" * 256).user == "x" * 256


@pytest.mark.parametrize("user", ["x" * 257, "a\nb", "a\x7f", "a\x85b", "a\u2028b", "\udcff", "\udcc0\udc80"])
def test_user_that_can_not_be_shown_or_stored_is_refused(user: str) -> None:
    with pytest.raises(BadRequest, match=r"^REMOTE_USER"):
        read(REMOTE_USER=user)


def test_length() -> None:
    assert [read(CONTENT_LENGTH=sent).content_length for sent in (None, "", "-1")] == [None] * 3
    assert [read(CONTENT_LENGTH=sent).content_length for sent in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]


@pytest.mark.parametrize("sent", ["-2", "+1", "1_0", " 1", "1\n", "0x1", "1.0", "1, 1", "\u0661", "9" * 19])
def test_length_that_two_programs_could_read_in_two_ways_is_refused(sent: str) -> None:
    with pytest.raises(BadRequest, match=r"^CONTENT_LENGTH"):
        read(CONTENT_LENGTH=sent)


def test_method() -> None:
    assert read(REQUEST_METHOD="VERSION-CONTROL").method == "VERSION-CONTROL"
    for bad in (None, "", "get", "GET ", "GET\n", "A" * 33, "-X"):
        with pytest.raises(BadRequest, match="REQUEST_METHOD"):
            read(REQUEST_METHOD=bad)


def test_host() -> None:
    for name in ("a.example", "A.Example", "a.example:8080", "a.example.:80", "a.example:"):
        assert read(SERVER_NAME=name, HTTP_HOST="forged").host == "a.example"
    assert [read(SERVER_NAME="_", HTTP_HOST=each).host for each in ("::1", "[::1]:80")] == ["::1", "[::1]"]


def test_server_name_has_no_port_and_is_never_empty() -> None:
    assert made(SERVER_NAME="[::1]:8080")[b"SERVER_NAME"] == b"[::1]"
    for none in ("", "_"):  # nginx says _ for none
        assert made(SERVER_NAME=none, HTTP_HOST="b.example:80")[b"SERVER_NAME"] == b"b.example"
    assert made(SERVER_NAME="", SERVER_ADDR="192.0.2.1")[b"SERVER_NAME"] == b"192.0.2.1"
    assert made(SERVER_NAME=None)[b"SERVER_NAME"] == b"localhost"


def test_what_a_script_never_sees() -> None:
    told = environ(read_request([*pairs(), *((name, b"s3cret") for name in SECRET)]), SCRIPT, b"", RULES, "/home/cgi")
    assert b"s3cret" not in told.values()
    assert (told[b"PATH"], told[b"HOME"]) == (RULES.path.encode(), b"/home/cgi")
    assert set(SECRET) & told.keys() == {b"PATH", b"HOME"}


def test_proof_and_params_are_not_shown() -> None:
    request = read(SELCGI_PROOF="s3cret", HTTP_AUTHORIZATION="s3cret")
    assert request.proof == b"s3cret"
    assert b"SELCGI_PROOF" not in request.params
    assert "s3cret" not in repr(request)


def test_passed_and_fixed_names() -> None:
    rules = EnvironRules((("GIT_ROOT", "/git"), ("PATH", "/opt")), ("HTTP_AUTHORIZATION", "GIT_EXPORT", "MISSING"))
    told = made(rules, HTTP_AUTHORIZATION="Bearer x", GIT_EXPORT="1", GIT_ROOT="/evil")
    assert told[b"HTTP_AUTHORIZATION"] == b"Bearer x"
    assert (told[b"GIT_EXPORT"], told[b"GIT_ROOT"], told[b"PATH"]) == (b"1", b"/git", b"/opt")
    assert b"MISSING" not in told


def test_passing_a_name_does_not_bring_back_what_was_worked_out() -> None:
    rules = EnvironRules(passed=("CONTENT_LENGTH", "PATH_TRANSLATED", "HTTPS"))
    told = made(rules, CONTENT_LENGTH="-1", PATH_TRANSLATED="/etc/passwd", HTTPS="off")
    assert not {b"CONTENT_LENGTH", b"PATH_TRANSLATED", b"HTTPS"} & told.keys()


def test_user_in_the_environment_is_the_proven_one() -> None:
    claimed = read(REMOTE_USER="alice", AUTH_TYPE="Basic")
    proven = environ(claimed, SCRIPT, b"", RULES, "/")
    assert (proven[b"REMOTE_USER"], proven[b"AUTH_TYPE"]) == (b"alice", b"Basic")
    assert not {b"REMOTE_USER", b"AUTH_TYPE"} & environ(replace(claimed, user=None), SCRIPT, b"", RULES, "/").keys()
    assert b"AUTH_TYPE" not in made(REMOTE_USER="alice", AUTH_TYPE="")


@pytest.mark.parametrize(
    ("method", "sent"), [("GET", "0"), ("HEAD", "0"), ("POST", "-1"), ("POST", ""), ("POST", None)]
)
def test_no_length_is_told_without_a_body_or_without_knowing(method: str, sent: str | None) -> None:
    assert b"CONTENT_LENGTH" not in made(REQUEST_METHOD=method, CONTENT_LENGTH=sent)


@pytest.mark.parametrize(("method", "sent", "told"), [("POST", "0", b"0"), ("GET", "5", b"5"), ("POST", "05", b"5")])
def test_length_is_told(method: str, sent: str, told: bytes) -> None:
    assert made(REQUEST_METHOD=method, CONTENT_LENGTH=sent)[b"CONTENT_LENGTH"] == told


def test_https_is_on_or_absent() -> None:
    assert [made(HTTPS=value).get(b"HTTPS") for value in ("on", "ON", "1", "https")] == [b"on"] * 4
    assert [made(HTTPS=value).get(b"HTTPS") for value in ("off", "", "0", None)] == [None] * 4


def test_variables_that_are_always_there() -> None:
    told = made(QUERY_STRING=None, CONTENT_TYPE="")
    assert (told[b"GATEWAY_INTERFACE"], told[b"QUERY_STRING"], told[b"REQUEST_METHOD"]) == (b"CGI/1.1", b"", b"GET")
    assert b"CONTENT_TYPE" not in told
    assert (told[b"SERVER_PROTOCOL"], told[b"SERVER_SOFTWARE"]) == (b"HTTP/1.0", f"selcgi/{VERSION}".encode())


@pytest.mark.parametrize(("https", "port", "told"), [("", None, b"80"), ("on", "", b"443"), ("on", "8443", b"8443")])
def test_port_is_that_of_the_scheme_where_the_web_server_says_none(https: str, port: str | None, told: bytes) -> None:
    assert made(HTTPS=https, SERVER_PORT=port)[b"SERVER_PORT"] == told
    rules = EnvironRules(passed=("SERVER_PORT",))
    assert made(rules, HTTPS=https, SERVER_PORT=port)[b"SERVER_PORT"] == told


def test_what_the_web_server_says_of_itself_is_told() -> None:
    told = made(SERVER_PROTOCOL="HTTP/2.0", SERVER_SOFTWARE="nginx/1.26", GATEWAY_INTERFACE="CGI/9.9")
    assert (told[b"SERVER_PROTOCOL"], told[b"SERVER_SOFTWARE"]) == (b"HTTP/2.0", b"nginx/1.26")
    assert told[b"GATEWAY_INTERFACE"] == b"CGI/1.1"


def test_variable_that_the_kernel_would_not_pass_on_is_refused_by_name() -> None:
    """The kernel itself says where the limit is; two long variables are none of its business."""
    room = VARIABLE_BYTES - len("HTTP_COOKIE=")
    longest = made(HTTP_COOKIE="x" * room, HTTP_ACCEPT="y" * 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/true", ["true"], longest), 0)[1]) == 0
    with pytest.raises(OSError, match="Argument list too long"):
        os.posix_spawn("/bin/true", ["true"], longest | {b"HTTP_COOKIE": b"x" * (room + 1)})
    with pytest.raises(BadRequest, match=r"^HTTP_COOKIE is longer than the 131071 bytes"):
        made(HTTP_COOKIE="x" * (room + 1))
    halves = [(b"HTTP_COOKIE", b"x" * (room // 2 + 1))] * 2
    with pytest.raises(BadRequest, match=r"^HTTP_COOKIE is longer"):
        environ(read_request([*pairs(), *halves]), SCRIPT, b"", RULES, "/")
    made(REMOTE_IDENT="x" * (VARIABLE_BYTES + 1))  # no script sees it


@pytest.mark.parametrize("name", [*DANGEROUS, "", "a", "A-B", "A=B", "A\n", "\u00c4"])
def test_dangerous_names_are_not_passed(name: str) -> None:
    with pytest.raises(StartRefused, match="--pass-param"):
        check_passed_names(["GIT_PROJECT_ROOT", name])


def test_harmless_names_are_passed() -> None:
    check_passed_names(["GIT_PROJECT_ROOT", "HTTP_AUTHORIZATION", "REDIRECT_STATUS", "ENVIRONMENT", "PATH_X"])


NAMES = st.sampled_from(sorted({*FIXED_NAMES, *SECRET, b"HTTP_HOST", b"HTTP_X", b"GIT_X"}))
PATHS = st.lists(st.sampled_from([b"/", b"x.cgi", b"%00", b"%2e", b"?", b"a b"]), max_size=6).map(b"".join)
VALUES = PATHS | PATHS.map(lambda path: b"proxy:fcgi://h/" + path) | st.binary(max_size=12)
PAIRS = st.lists(st.tuples(NAMES | st.binary(max_size=8), VALUES), max_size=20)
NOISE = {b"REQUEST_METHOD", b"CONTENT_LENGTH", b"REMOTE_USER"}


def likely(sent: Pairs) -> Pairs:
    """Without what is refused most often, so that a script is told something."""
    kept = {name: value for name, value in sent if name not in NOISE}
    return [(b"REQUEST_METHOD", b"GET"), *({b"SCRIPT_FILENAME": b"/x.cgi/a b"} | kept).items()]


@given(PAIRS)
@settings(max_examples=200)
def test_any_pairs_give_a_request_or_bad_request(sent: Pairs) -> None:
    try:
        paths = read_request(sent).script_paths
    except BadRequest:
        return
    assert paths


@given(PAIRS.map(likely), st.data())
@settings(max_examples=200)
def test_environment_of_any_request_is_clean(sent: Pairs, data: st.DataObject) -> None:
    try:
        request = read_request(sent)
    except BadRequest:
        return
    path = data.draw(st.sampled_from(request.script_paths))
    assert path[:1] == b"/" != path[1:2]
    cut = data.draw(st.sampled_from([at for at, byte in enumerate(path) if at and byte == ord("/")] + [len(path)]))
    told = environ(request, path[:cut], path[cut:], EnvironRules((("FIXED", "1"),), ("GIT_X",)), "/")
    assert {name for name in told if name[:5] != b"HTTP_"} <= FIXED_NAMES | {b"FIXED", b"GIT_X"}
    assert not WITHHELD & told.keys()
    assert b"\0" not in b"".join(told.values())


NAMES = st.sampled_from(
    [b"REQUEST_METHOD", b"HTTP_HOST", b"HTTP_X", b"x", b"", b"A\0", b"HTTP_COOKIE", b"SELCGI_PROOF"]
)


@given(st.lists(st.tuples(NAMES, st.sampled_from([b"", b"a", b"b\0"])), max_size=6))
@settings(max_examples=500)
def test_params_that_come_once_each_are_taken_as_all_others(pairs: Pairs) -> None:
    quick = module._each_once(pairs)
    if quick is not None:
        assert list(quick.items()) == list(module._merge(pairs, module._SINGLE).items())
    else:
        assert len({name for name, _ in pairs}) < len(pairs) or any(b"\0" in value for _, value in pairs)
