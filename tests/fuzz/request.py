"""Invariant: any params give a Request or a BadRequest, and the environment made of a Request is an allow-list.

No NUL anywhere, no "=" in a name, never LD_*, PATH, HTTP_PROXY, a password or the proof; REMOTE_USER only as it was
sent, once; what RFC 3875 demands is there; the same for any order of the params. --pass-param adds the names that it
gives and changes no other. Input: lines of NAME=value, with `\\n` for a line end in a value.
"""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from selcgi.errors import BadRequest, StartRefused
from selcgi.settings import EnvironRules
from selcgi.wire.environ import Request, environ, read_request
from selcgi.wire.passing import check_passed_names

HOME = "/home/cgi"
SINGLE = (
    b"REMOTE_USER AUTH_TYPE SCRIPT_FILENAME SCRIPT_NAME PATH_INFO CONTENT_LENGTH DOCUMENT_ROOT REQUEST_METHOD "
    b"QUERY_STRING REQUEST_URI SELCGI_PROOF HTTP_HOST".split()
)
COPIED = (
    b"SERVER_SOFTWARE SERVER_PORT SERVER_PROTOCOL SERVER_ADDR REMOTE_ADDR REMOTE_PORT REMOTE_HOST REQUEST_URI "
    b"REQUEST_SCHEME DOCUMENT_ROOT CONTENT_TYPE".split()
)
DEMANDED = (
    b"GATEWAY_INTERFACE REQUEST_METHOD SCRIPT_NAME SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_SOFTWARE "
    b"QUERY_STRING".split()
)
OTHERS = b"HTTPS SCRIPT_FILENAME PATH_INFO PATH_TRANSLATED CONTENT_LENGTH REMOTE_USER AUTH_TYPE PATH HOME".split()
ALLOWED = frozenset((*DEMANDED, *COPIED, *OTHERS))
WITHHELD = (
    b"HTTP_ HTTP_PROXY HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE "
    b"HTTP_TRANSFER_ENCODING HTTP_SELCGI_PROOF".split()
)
NEVER = frozenset(b"PATH HOME IFS ENV BASH_ENV SHELLOPTS HTTP_PROXY REMOTE_PASSWD REDIRECT_REMOTE_USER".split())
NEVER_BEGIN = (b"LD_", b"BASH_FUNC", b"MALLOC_", b"PERL", b"PYTHON", b"RUBY", b"SELCGI_")
Pairs = list[tuple[bytes, bytes]]
Sent = dict[bytes, list[bytes]]


def check(data: bytes) -> None:
    pairs = _pairs(data)
    sent: Sent = {}
    for name, value in pairs:
        sent.setdefault(name, []).append(value)
    request = _read(pairs)
    if all(len(values) == 1 for values in sent.values()):
        assert _read(pairs[::-1]) == request, "the order of the params makes a difference"
    if request is None:
        return
    assert not any(b"\0" in value for _, value in pairs), "a NUL was taken"
    assert all(len(set(sent.get(name, ()))) <= 1 for name in SINGLE), "a contradiction was taken"
    _check_request(request, sent)
    for script, path_info in _places(request):
        _check_environ(request, script, path_info, sent)


def _pairs(data: bytes) -> Pairs:
    parts = (line.partition(b"=") for line in data.split(b"\n") if b"=" in line)
    return [(name, value.replace(rb"\n", b"\n")) for name, _, value in parts]


def _read(pairs: Pairs) -> Request | None:
    try:
        return read_request(pairs)
    except BadRequest as error:
        assert str(error).isprintable(), error
        return None


def _first(sent: Sent, name: bytes) -> bytes:
    return sent.get(name, [b""])[-1]


def _check_request(request: Request, sent: Sent) -> None:
    user = _first(sent, b"REMOTE_USER")
    assert request.user == (user.decode() if user else None)
    assert request.user is None or not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in request.user)
    assert request.proof == _first(sent, b"SELCGI_PROOF")
    assert repr(request) == repr(replace(request, proof=b"")), "the proof is shown"
    assert request.host == request.host.lower()
    assert request.host.isascii()
    length = _first(sent, b"CONTENT_LENGTH")
    assert request.content_length == (None if length in (b"", b"-1") else int(length))
    paths = request.script_paths
    assert paths
    assert len(set(paths)) == len(paths)
    meant = set(_meant(sent))
    for path in paths:
        assert path.startswith(b"/")
        assert b"\0" not in path
        assert path in meant, f"{path!r} is none of {meant}"


def _meant(sent: Sent) -> Iterator[bytes]:
    """What the web server can have meant at all: decoded once at most, with PATH_INFO or without."""
    named, extra = _first(sent, b"SCRIPT_FILENAME"), _first(sent, b"PATH_INFO")
    query = b"?" + _first(sent, b"QUERY_STRING")
    if named.startswith(b"proxy:"):
        named = b"/" + named.partition(b"://")[2].partition(b"/")[2]
    elif not named:
        named = _first(sent, b"DOCUMENT_ROOT").rstrip(b"/") + _first(sent, b"SCRIPT_NAME")
    for path in (named, named.removesuffix(query), unquote_to_bytes(named.removesuffix(query))):
        yield b"/" + path.lstrip(b"/")
        yield b"/" + path.lstrip(b"/") + extra


def _places(request: Request) -> Iterator[tuple[bytes, bytes]]:
    """Where a script may have been found, and what was left over of its candidate."""
    for path in request.script_paths:
        slashes = [at for at in range(1, len(path)) if path[at : at + 1] == b"/"]
        for cut in (len(path), *slashes[:2], *slashes[-2:]):
            yield path[:cut], path[cut:]


def _check_environ(request: Request, script: bytes, path_info: bytes, sent: Sent) -> None:
    plain = _environ(request, script, path_info, ())
    for name, value in plain.items():
        assert name in ALLOWED or (name.startswith(b"HTTP_") and name not in WITHHELD), f"{name!r} is let through"
        if name.startswith(b"HTTP_") and name not in SINGLE:
            assert value == (b"; " if name == b"HTTP_COOKIE" else b", ").join(sent[name]), name
        elif name in COPIED and name in sent and any(sent[name]):
            assert value == _first(sent, name) or not _first(sent, name), name
    _check_told(plain, request, sent)
    assert plain[b"SCRIPT_FILENAME"] == script
    assert plain.get(b"PATH_INFO", b"") in (path_info, unquote_to_bytes(path_info))
    _check_script_name(plain[b"SCRIPT_NAME"], sent)
    passed = _passable(sent)
    more = _environ(request, script, path_info, tuple(name.decode() for name in passed))
    assert plain.items() <= more.items(), "what is passed by name has changed another variable"
    assert more.keys() - plain.keys() <= passed
    for name in more.keys() - ALLOWED:
        assert name not in NEVER, f"{name!r} is let through"
        assert not name.startswith(NEVER_BEGIN), f"{name!r} is let through"


def _environ(request: Request, script: bytes, path_info: bytes, passed: tuple[str, ...]) -> dict[bytes, bytes]:
    made = environ(request, script, path_info, EnvironRules(passed=passed), HOME)
    for name, value in made.items():
        assert name
        assert not set(name) & set(b"=\0")
        assert b"\0" not in value, name
    return made


def _check_told(told: dict[bytes, bytes], request: Request, sent: Sent) -> None:
    assert not set(DEMANDED) - told.keys()
    assert told[b"SERVER_NAME"]
    assert (told[b"PATH"], told[b"HOME"]) == (EnvironRules().path.encode(), HOME.encode())
    assert told[b"REQUEST_METHOD"] == _first(sent, b"REQUEST_METHOD") == request.method.encode()
    assert told.get(b"REMOTE_USER", b"") == _first(sent, b"REMOTE_USER")
    assert b"REMOTE_USER" not in told or told[b"REMOTE_USER"]
    assert told.get(b"AUTH_TYPE", b"") == (_first(sent, b"AUTH_TYPE") if request.user else b"")
    length = told.get(b"CONTENT_LENGTH")
    assert length is None or int(length) == request.content_length
    assert length is not None or not request.content_length


def _check_script_name(name: bytes, sent: Sent) -> None:
    """It is the beginning of a URL that was sent."""
    own, extra = _first(sent, b"SCRIPT_NAME"), _first(sent, b"PATH_INFO")
    path = unquote_to_bytes(_first(sent, b"REQUEST_URI").partition(b"?")[0])
    assert any(url.startswith(name) or url.endswith(name) for url in (own + extra, path, extra)) or name in path, name


def _passable(sent: Sent) -> set[bytes]:
    """Every name that an administrator could give for --pass-param."""
    passable = set()
    for name in sent:
        try:
            check_passed_names((name.decode("latin-1"),))
        except StartRefused:
            continue
        passable.add(name)
    return passable
