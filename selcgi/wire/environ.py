"""What a web server says of a request, and what of it a script is told: params -> Request -> CGI environment.

Decides which params are believed, and every variable that a script sees: an allow-list, so that a param which nobody
thought of stays here. What RFC 3875 says must be there is there, whatever the web server left out. Must not look at
files, nor decide who the user is: `Request.user` is a claim until its proof is checked. Where the script may lie is
wire/paths.py's. Called by serve/request.py.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from functools import lru_cache

from selcgi import VERSION
from selcgi.errors import BadRequest
from selcgi.settings import EnvironRules
from selcgi.values import valueclass
from selcgi.wire.paths import script_paths, split_url

USER_BYTES = 256
VARIABLE_BYTES = 128 * 1024 - 1  # NAME=value without its NUL; execve(2) takes no longer one (MAX_ARG_STRLEN: 32 pages)
_LENGTH_DIGITS = 18  # always within 63 bits

_is_name = re.compile(rb"[A-Z_][A-Z0-9_]*").fullmatch
_is_method = re.compile(rb"[A-Z][A-Z0-9_-]{0,31}").fullmatch  # the tokens (RFC 9110 section 9.1) in use
_is_auth_type = re.compile(rb"[A-Za-z0-9_./+-]{1,64}").fullmatch
_is_unprintable = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]").search

# Two of these that differ are two readings of one request, and somebody gains by the difference. One Host: RFC 9112
# section 3.2.
_SINGLE = frozenset(
    b"REMOTE_USER AUTH_TYPE SCRIPT_FILENAME SCRIPT_NAME PATH_INFO CONTENT_LENGTH DOCUMENT_ROOT REQUEST_METHOD "
    b"QUERY_STRING REQUEST_URI SELCGI_PROOF HTTP_HOST".split()
)
_COPIED = frozenset(
    b"SERVER_SOFTWARE SERVER_PORT SERVER_PROTOCOL SERVER_ADDR REMOTE_ADDR REMOTE_PORT REMOTE_HOST REQUEST_URI "
    b"REQUEST_SCHEME DOCUMENT_ROOT CONTENT_TYPE".split()
)
# Worked out here, or left away for a reason: never taken as sent, even when passed by name.
_COMPUTED = frozenset(
    b"SCRIPT_FILENAME SCRIPT_NAME PATH_INFO PATH_TRANSLATED CONTENT_LENGTH HTTPS REMOTE_USER AUTH_TYPE".split()
)
# What "MUST be set" (RFC 3875 section 4.1) and a web server may leave out. Each claims no more than is known: the port
# is that of the scheme (4.1.15), HTTP/1.0 is what every client understands (4.1.16), and selcgi is the program that
# runs the gateway (4.1.17). REMOTE_ADDR (4.1.8) has no honest value of that kind, so a script may lack it.
_DEFAULTS = {
    b"GATEWAY_INTERFACE": b"CGI/1.1",
    b"SERVER_PORT": b"80",
    b"SERVER_PROTOCOL": b"HTTP/1.0",
    b"SERVER_SOFTWARE": f"selcgi/{VERSION}".encode(),
}
# A script's HTTP library takes HTTP_PROXY for its own proxy (CVE-2016-5385); credentials are the web server's business
# (RFC 3875 section 4.1.18); lengths and types come once, without HTTP_.
_WITHHELD = frozenset(
    b"HTTP_ HTTP_PROXY HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE "
    b"HTTP_TRANSFER_ENCODING HTTP_SELCGI_PROOF".split()
)
_KNOWN = _SINGLE | _COPIED | _COMPUTED | _DEFAULTS.keys()
_names = set(_KNOWN)  # with others that came: to be found sooner than by the pattern of a name
_NAMES_MOST, _NAME_BYTES = 512, 64  # what a client may send is kept no longer than that


@valueclass(frozen=True, slots=True)
class Request:
    """A request as the web server describes it. Shows neither the proof nor params, which may hold a password."""

    method: str
    user: str | None  # REMOTE_USER, not proven; None for nobody
    auth_type: str  # may be empty
    content_length: int | None  # bytes; None when the web server does not know
    host: str  # lower-case, without port; may be empty
    query: str
    script_paths: tuple[bytes, ...]  # absolute, each with its PATH_INFO behind it, best first
    proof: bytes = field(repr=False)  # SELCGI_PROOF, may be empty; it is not in params
    params: Mapping[bytes, bytes] = field(repr=False)
    told: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # see read_request; not in params


def read_request(pairs: Collection[tuple[bytes, bytes]], choosing: Iterable[str] = ()) -> Request:
    """The request in the name-value pairs of FCGI_PARAMS. BadRequest when they are malformed or contradictory.

    `choosing` names params that may choose a context: those that are not empty become `told`.
    """
    told_names = tuple(map(str.encode, choosing))
    params = _each_once(pairs) or _merge(pairs, _SINGLE.union(told_names) if told_names else _SINGLE)
    proof = params.pop(b"SELCGI_PROOF", b"")
    told = _told(params, told_names) if told_names else ()
    get = params.get
    return Request(
        method=_method(get(b"REQUEST_METHOD", b"")),
        user=_user(get(b"REMOTE_USER", b"")),
        auth_type=_auth_type(get(b"AUTH_TYPE", b"")),
        content_length=_length(get(b"CONTENT_LENGTH", b"")),
        host=_host(_site_name(params)),
        query=get(b"QUERY_STRING", b"").decode("utf-8", "surrogateescape"),
        script_paths=script_paths(params),
        proof=proof,
        params=params,
        told=told,
    )


def _told(params: dict[bytes, bytes], names: Iterable[bytes]) -> tuple[tuple[str, str], ...]:
    found = [(name.decode(), params.pop(name, b"").decode("utf-8", "backslashreplace")) for name in names]
    return tuple(pair for pair in found if pair[1])


def _each_once(pairs: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """As _merge(), where no name comes twice and no value has a NUL, which is nearly always; else None."""
    params = dict(pairs)
    if len(params) < len(pairs) or b"\0" in b"".join(params.values()):
        return None
    for name in params.keys() - _names:
        if not _is_name(name):
            del params[name]
        elif len(name) <= _NAME_BYTES and len(_names) < _NAMES_MOST:
            _names.add(name)
    return params


def _merge(pairs: Iterable[tuple[bytes, bytes]], single: Collection[bytes]) -> dict[bytes, bytes]:
    """Names that can be names of variables, each once; those of `single` with one value."""
    params: dict[bytes, bytes] = {}
    for name, value in pairs:
        if b"\0" in value:
            raise BadRequest(f"{name[:64].decode('latin-1')!a} has a NUL in it")
        if name in params:
            params[name] = _again(name, params[name], value, single)
        elif name in _names or _is_name(name):
            params[name] = value
    return params


def _again(name: bytes, first: bytes, second: bytes, single: Collection[bytes]) -> bytes:
    """The one value of a name that came twice. Fields of a header join as RFC 9110 section 5.3 and 6265 have it."""
    if name in single:
        if first != second:
            text = name.decode()
            raise BadRequest(f"{text} came twice, with different values", f"have the web server send {text} once")
        return first
    if name.startswith(b"HTTP_"):
        return first + (b"; " if name == b"HTTP_COOKIE" else b", ") + second
    return second


# The same few values come again and again, and what they mean hangs on nothing else.
@lru_cache(maxsize=32)
def _method(value: bytes) -> str:
    if not _is_method(value):
        raise BadRequest(
            "REQUEST_METHOD is no method" if value else "the web server sent no REQUEST_METHOD",
            "nginx: fastcgi_param REQUEST_METHOD $request_method;",
        )
    return value.decode()


@lru_cache(maxsize=256)
def _user(value: bytes) -> str | None:
    """REMOTE_USER; None for an empty one, which is how nginx and Caddy say that there is nobody."""
    if not value:
        return None
    try:
        user = value.decode()
    except UnicodeDecodeError:
        raise BadRequest("REMOTE_USER is not UTF-8") from None
    if len(value) > USER_BYTES or _is_unprintable(user):
        raise BadRequest(f"REMOTE_USER is longer than {USER_BYTES} bytes or has a control character in it")
    return user


@lru_cache(maxsize=32)
def _auth_type(value: bytes) -> str:
    if value and not _is_auth_type(value):
        raise BadRequest("AUTH_TYPE is no token", "the web server should send Basic, Digest and the like")
    return value.decode()


def _length(value: bytes) -> int | None:
    """CONTENT_LENGTH; nginx sends an empty one and Caddy -1 when there is a body of unknown length."""
    if value in (b"", b"-1"):
        return None
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise BadRequest(f"CONTENT_LENGTH is no number of at most {_LENGTH_DIGITS} digits")
    return int(value)


def _site_name(params: Mapping[bytes, bytes]) -> bytes:
    """The web server's own name for the site; the client's word only where it has none (nginx says _ for that)."""
    name = params.get(b"SERVER_NAME", b"")
    return name if name not in (b"", b"_") else params.get(b"HTTP_HOST", b"")


@lru_cache(maxsize=32)
def _host(value: bytes) -> str:
    """A final dot goes too: for DNS and for the web server's virtual hosts the name is the same without it."""
    return _without_port(value).decode("ascii", "backslashreplace").lower().removesuffix(".")


def _without_port(value: bytes) -> bytes:
    """HAProxy leaves the port on SERVER_NAME. An IPv6 address keeps its brackets, or its colons without them."""
    name, colon, port = value.rpartition(b":")
    if not colon or (port and not port.isdigit()):
        return value
    return value if b":" in name and not name.endswith(b"]") else name


def environ(request: Request, script: bytes, path_info: bytes, rules: EnvironRules, home: str) -> dict[bytes, bytes]:
    """The whole environment of a script (RFC 3875 section 4.1), the variables in `rules` included.

    `script` and `path_info` are where it was found and what of its candidate was left over; neither has a NUL in it.
    """
    params = request.params
    made = _DEFAULTS.copy()
    for name in rules.passed:
        if (key := os.fsencode(name)) in params and key not in _COMPUTED and key not in _DEFAULTS:
            made[key] = params[key]
    for key, value in params.items():
        if (key in _COPIED and value) or (key[:5] == b"HTTP_" and key not in _WITHHELD):
            made[key] = value
    _add_request(made, request)
    _add_script(made, params, script, path_info)
    made.update(_fixed(rules.fixed, rules.path, home))
    if len(b"".join(made.values())) + len(b"".join(made)) >= VARIABLE_BYTES:
        _refuse_long(made)
    return made


@lru_cache(maxsize=16)
def _fixed(fixed: tuple[tuple[str, str], ...], path: str, home: str) -> dict[bytes, bytes]:
    """What is the same for all requests, and takes the place of anything else."""
    usual = {b"PATH": os.fsencode(path), b"HOME": os.fsencode(home)}
    return usual | {os.fsencode(name): os.fsencode(text) for name, text in fixed}


def _refuse_long(made: Mapping[bytes, bytes]) -> None:
    for name, value in made.items():
        if len(name) + 1 + len(value) > VARIABLE_BYTES:
            reason = f"{name[:64].decode()} is longer than the {VARIABLE_BYTES} bytes that the kernel passes on"
            raise BadRequest(reason, "have the web server refuse such requests (nginx: large_client_header_buffers)")


def _add_request(made: dict[bytes, bytes], request: Request) -> None:
    params = request.params
    made[b"REQUEST_METHOD"] = request.method.encode()
    made[b"QUERY_STRING"] = params.get(b"QUERY_STRING", b"")
    made[b"SERVER_NAME"] = _without_port(_site_name(params)) or params.get(b"SERVER_ADDR") or b"localhost"
    if params.get(b"HTTPS", b"").lower() in (b"on", b"1", b"https"):
        made[b"HTTPS"] = b"on"
        if not params.get(b"SERVER_PORT"):
            made[b"SERVER_PORT"] = b"443"
    length = request.content_length
    if length or (length == 0 and request.method not in ("GET", "HEAD")):
        made[b"CONTENT_LENGTH"] = b"%d" % length
    if request.user is not None:
        made[b"REMOTE_USER"] = request.user.encode()
        if kind := params.get(b"AUTH_TYPE"):
            made[b"AUTH_TYPE"] = kind


def _add_script(made: dict[bytes, bytes], params: Mapping[bytes, bytes], script: bytes, path_info: bytes) -> None:
    made[b"SCRIPT_FILENAME"] = script
    made[b"SCRIPT_NAME"], path_info = split_url(params, script, path_info)
    if path_info:
        made[b"PATH_INFO"] = path_info
        if root := params.get(b"DOCUMENT_ROOT"):
            made[b"PATH_TRANSLATED"] = root.rstrip(b"/") + path_info
