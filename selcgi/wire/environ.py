"""What a web server says of a request, and what of it a script is told: params -> Request -> CGI environment.

Decides which params are believed, where the script may lie, and every variable that a script sees: an allow-list, so
that a param which nobody thought of stays here. Five web servers spell the same request in five ways; SCRIPT_NAME and
PATH_INFO are worked out anew from where the script was found. Must not look at files, nor decide who the user is:
`Request.user` is a claim until its proof is checked. Called by serve/request.py, and by serve/site.py for names.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from selcgi.errors import BadRequest, StartRefused
from selcgi.settings import EnvironRules
from selcgi.wire.scriptpath import script_paths, split_url

USER_BYTES = 256
_LENGTH_DIGITS = 18  # always within 63 bits
_VARIABLE_BYTES = 131072  # NAME=value and its NUL: MAX_ARG_STRLEN, execve(2) fails with E2BIG for more

_is_name = re.compile(rb"[A-Z_][A-Z0-9_]*").fullmatch
_is_method = re.compile(rb"[A-Z][A-Z0-9_-]{0,31}").fullmatch  # the tokens (RFC 9110 section 9.1) in use
_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{0,64}").fullmatch  # RFC 9110 section 5.6.2, or nothing
_is_garbled = re.compile(rb"[\0-\x20=\x7f]|\A\Z").search

# Two of these that differ are two readings of one request, and somebody gains by the difference. One Host: RFC 9112
# section 3.2.
_SINGLE = frozenset(
    b"REMOTE_USER AUTH_TYPE SCRIPT_FILENAME SCRIPT_NAME PATH_INFO CONTENT_LENGTH DOCUMENT_ROOT REQUEST_METHOD "
    b"QUERY_STRING REQUEST_URI SERVER_NAME REMOTE_ADDR SELCGI_PROOF HTTP_HOST".split()
)
_COPIED = frozenset(
    b"SERVER_SOFTWARE SERVER_PORT SERVER_PROTOCOL SERVER_ADDR REMOTE_ADDR REMOTE_PORT REMOTE_HOST REQUEST_URI "
    b"REQUEST_SCHEME DOCUMENT_ROOT CONTENT_TYPE".split()
)
# Worked out here, or left away for a reason: never taken as sent, even when passed by name.
_COMPUTED = frozenset(
    b"SCRIPT_FILENAME SCRIPT_NAME PATH_INFO PATH_TRANSLATED CONTENT_LENGTH HTTPS REMOTE_USER AUTH_TYPE".split()
)
# A script's HTTP library takes HTTP_PROXY for its own proxy (CVE-2016-5385); credentials are the web server's business
# (RFC 3875 section 4.1.18); lengths and types come once, without HTTP_; a body is never chunked any more here.
_WITHHELD = frozenset(
    b"HTTP_ HTTP_PROXY HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE "
    b"HTTP_TRANSFER_ENCODING".split()
)
# Whoever chooses the value of one of these, an .htaccess author for one, runs code or becomes someone: what glibc
# drops for setuid programs (ld.so(8), "Secure-execution mode"), what shells and interpreters start with, and names.
_is_unpassable = re.compile(
    rb"PATH|HOME|IFS|ENV|PS4|CDPATH|ZDOTDIR|BASH.*|SHELLOPTS|LD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_.*|HOSTALIASES|LOCALDOMAIN"
    rb"|LOCPATH|MALLOC_.*|NIS_PATH|NLSPATH|RESOLV_.*|RES_OPTIONS|TMPDIR|TZDIR|PERL.*|PYTHON.*|RUBY.*|GEM_.*|NODE_.*|LUA_.*"
    rb"|PHPRC|PHP_INI_SCAN_DIR|CLASSPATH|(?:_|JDK_)?JAVA_.*|HTTP_PROXY|REMOTE_PASSWD|(?:REDIRECT_)+.*|(?:HTTP_)?SELCGI_.*"
).fullmatch


@dataclass(frozen=True, slots=True)
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


def read_request(pairs: Iterable[tuple[bytes, bytes]]) -> Request:
    """The request in the name-value pairs of FCGI_PARAMS. BadRequest when they are malformed or contradictory."""
    params = _merge(pairs)
    proof = params.pop(b"SELCGI_PROOF", b"")
    get = params.get
    return Request(
        method=_method(get(b"REQUEST_METHOD", b"")),
        user=_user(get(b"REMOTE_USER", b"")),
        auth_type=_auth_type(get(b"AUTH_TYPE", b"")),
        content_length=_length(get(b"CONTENT_LENGTH", b"")),
        host=_host(get(b"SERVER_NAME", b""), get(b"HTTP_HOST", b"")),
        query=get(b"QUERY_STRING", b"").decode("utf-8", "surrogateescape"),
        script_paths=script_paths(params),
        proof=proof,
        params=params,
    )


def _merge(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Names that can be names of variables, each once; Caddy's HTTP_X.DOT and its like are left away."""
    params: dict[bytes, bytes] = {}
    for name, value in pairs:
        if b"\0" in value:
            raise BadRequest(f"{name[:64].decode('latin-1')!a} has a NUL in its value")
        if name in params:
            params[name] = _again(name, params[name], value)
        elif _is_name(name):
            params[name] = value
        elif _is_garbled(name):
            raise BadRequest(f"{name[:64].decode('latin-1')!a} is no name of a param")
    return params


def _again(name: bytes, first: bytes, second: bytes) -> bytes:
    """The one value of a name that came twice. Fields of a header join as RFC 9110 section 5.3 and 6265 have it."""
    if name in _SINGLE:
        if first != second:
            text = name.decode()
            raise BadRequest(f"{text} came twice, with different values", f"have the web server send {text} once")
        return first
    if name.startswith(b"HTTP_"):
        return first + (b"; " if name == b"HTTP_COOKIE" else b", ") + second
    return second


def _method(value: bytes) -> str:
    if not _is_method(value):
        raise BadRequest(
            "REQUEST_METHOD is no method" if value else "the web server sent no REQUEST_METHOD",
            "nginx: fastcgi_param REQUEST_METHOD $request_method;",
        )
    return value.decode()


def _user(value: bytes) -> str | None:
    """REMOTE_USER; None for an empty one, which is how nginx and Caddy say that there is nobody."""
    if not value:
        return None
    try:
        user = value.decode()
    except UnicodeDecodeError:
        raise BadRequest("REMOTE_USER is not UTF-8") from None
    if len(value) > USER_BYTES or not user.isprintable():
        raise BadRequest(
            f"REMOTE_USER is longer than {USER_BYTES} bytes, or has characters that can't be seen in a log"
        )
    return user


def _auth_type(value: bytes) -> str:
    if not _is_token(value):
        raise BadRequest("AUTH_TYPE is no name of an authentication scheme")
    return value.decode()


def _length(value: bytes) -> int | None:
    """CONTENT_LENGTH; nginx sends an empty one and Caddy -1 when there is a body of unknown length."""
    if value in (b"", b"-1"):
        return None
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise BadRequest(f"CONTENT_LENGTH is no number of at most {_LENGTH_DIGITS} digits")
    return int(value)


def _host(name: bytes, header: bytes) -> str:
    """The virtual host, as the web server names it. A final dot goes: for DNS the name is the same without it.

    A client chooses the Host header freely: nginx takes a whole URL in the request line for the host, and passes on a
    header that says something else. It only counts where the server has no name ("_" is nginx's word for that).
    """
    own = _without_port(name)
    value = own if own not in (b"", b"_") else _without_port(header)
    return value.decode("ascii", "backslashreplace").lower().removesuffix(".")


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
    made = {name: params[name] for name in map(os.fsencode, rules.passed) if name in params and _may_pass(name)}
    for name, value in params.items():
        if (name in _COPIED and value) or (name.startswith(b"HTTP_") and name not in _WITHHELD):
            made[name] = value
    made[b"GATEWAY_INTERFACE"] = b"CGI/1.1"
    made[b"REQUEST_METHOD"] = request.method.encode()
    made[b"QUERY_STRING"] = params.get(b"QUERY_STRING", b"")
    _add_server(made, request)
    _add_script(made, params, script, path_info)
    _add_body_and_user(made, request)
    made[b"PATH"] = os.fsencode(rules.path)
    made[b"HOME"] = os.fsencode(home)
    for fixed, text in rules.fixed:
        made[os.fsencode(fixed)] = os.fsencode(text)
    for name, value in made.items():
        if len(name) + len(value) + 2 > _VARIABLE_BYTES:
            raise BadRequest(f"{name.decode()[:64]} is longer than the {_VARIABLE_BYTES} bytes of a variable")
    return made


def _add_server(made: dict[bytes, bytes], request: Request) -> None:
    """RFC 3875 sections 4.1.14 to 4.1.17 demand these, whatever was sent."""
    made[b"SERVER_NAME"] = _without_port(request.params.get(b"SERVER_NAME", b"")) or request.host.encode()
    secure = request.params.get(b"HTTPS", b"").lower() in (b"on", b"1", b"https")
    if secure:
        made[b"HTTPS"] = b"on"
    made.setdefault(b"SERVER_PORT", b"443" if secure else b"80")
    made.setdefault(b"SERVER_PROTOCOL", b"HTTP/1.0")
    made.setdefault(b"SERVER_SOFTWARE", b"selcgi")


def _add_script(made: dict[bytes, bytes], params: Mapping[bytes, bytes], script: bytes, path_info: bytes) -> None:
    made[b"SCRIPT_FILENAME"] = script
    made[b"SCRIPT_NAME"], path_info = split_url(params, script, path_info)
    if path_info:
        made[b"PATH_INFO"] = path_info
        root = params.get(b"DOCUMENT_ROOT")
        if root and b"/../" not in path_info + b"/":  # else it would name what lies outside of the root
            made[b"PATH_TRANSLATED"] = root.rstrip(b"/") + path_info


def _add_body_and_user(made: dict[bytes, bytes], request: Request) -> None:
    length = request.content_length
    if length or (length == 0 and request.method not in ("GET", "HEAD")):
        made[b"CONTENT_LENGTH"] = b"%d" % length
    if request.user is not None:
        made[b"REMOTE_USER"] = request.user.encode()
        if kind := request.params.get(b"AUTH_TYPE"):
            made[b"AUTH_TYPE"] = kind


def _may_pass(name: bytes) -> bool:
    return name not in _COMPUTED and not _is_unpassable(name)


def check_passed_names(names: Iterable[str]) -> None:
    """StartRefused when a param to be passed to scripts by name has no name of a variable, or a dangerous one."""
    for name in names:
        raw = os.fsencode(name)
        if not _is_name(raw):
            fix = "use upper-case letters, digits and underscores"
            raise StartRefused(f"--pass-param {name!a} is no name of a variable", fix)
        if raw in _COMPUTED:
            raise StartRefused(f"selcgi works {name} out itself", f"take {name} out of --pass-param")
        if not _may_pass(raw):
            reason = f"--pass-param {name} would let the web server's configuration decide what scripts run or as whom"
            raise StartRefused(reason, f"take {name} out of --pass-param")
