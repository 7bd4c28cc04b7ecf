"""What of a request, and of a script's output, may be kept for people to look at: no cookie, no password, no proof.

Decides by lists of what is known to be harmless, so that a header or a param which nobody thought of is named and not
kept. Query strings are kept, but for the values whose names speak of a secret. What a path or a free text holds can't
be known: those are kept. Called by serve/failures.py and wire/response.py.
"""

import re
from urllib.parse import unquote_to_bytes

_PARAMS = frozenset(
    b"""REQUEST_METHOD REQUEST_URI REQUEST_SCHEME QUERY_STRING CONTENT_LENGTH CONTENT_TYPE SCRIPT_FILENAME SCRIPT_NAME
    PATH_INFO PATH_TRANSLATED DOCUMENT_ROOT DOCUMENT_URI CONTEXT_DOCUMENT_ROOT CONTEXT_PREFIX GATEWAY_INTERFACE
    SERVER_NAME SERVER_PORT SERVER_ADDR SERVER_PROTOCOL SERVER_SOFTWARE REMOTE_ADDR REMOTE_PORT REMOTE_HOST REMOTE_USER
    AUTH_TYPE HTTPS REDIRECT_STATUS""".split()
)
_HEADERS = frozenset(
    b"HTTP_" + name
    for name in b"""HOST USER_AGENT ACCEPT ACCEPT_CHARSET ACCEPT_ENCODING ACCEPT_LANGUAGE CACHE_CONTROL PRAGMA
    CONNECTION KEEP_ALIVE TE UPGRADE UPGRADE_INSECURE_REQUESTS VIA DNT ORIGIN RANGE EXPECT DATE MAX_FORWARDS IF_MATCH
    IF_NONE_MATCH IF_MODIFIED_SINCE IF_UNMODIFIED_SINCE IF_RANGE CONTENT_ENCODING CONTENT_LANGUAGE CONTENT_LENGTH
    CONTENT_TYPE TRANSFER_ENCODING FORWARDED X_FORWARDED_FOR X_FORWARDED_HOST X_FORWARDED_PORT X_FORWARDED_PROTO
    X_REAL_IP X_REQUESTED_WITH X_REQUEST_ID GIT_PROTOCOL DEPTH DESTINATION OVERWRITE SOAPACTION SEC_FETCH_DEST
    SEC_FETCH_MODE SEC_FETCH_SITE SEC_FETCH_USER""".split()
)
KEPT = _PARAMS | _HEADERS
REMOVED = b"(removed)"

_WORDS = rb"pass|pwd|secret|token|credential|session|signature|api[-_]?key"
_is_secret = re.compile(
    rb"(?i)(?:.*(?:%b)|(?:key|auth|sig|sid|code|state|otp|pin|jwt|nonce)\Z)" % _WORDS, re.DOTALL
).match
_pairs = re.compile(rb"(?<![^?&;\s])([^?&;=\s]++)=([^&;\s]*+)")  # of a query
_login = re.compile(rb"://[^/@\s]++@")  # of a URL
_lines = re.compile(  # of a head, with what is folded
    rb"(?im)^([a-z0-9_-]*(?:cookie|auth|%b|[-_]key)[a-z0-9_-]*:).*(?:\n[ \t].*)*" % _WORDS
)
_end_of_head = re.compile(rb"\r?\n\r?\n")


def harmless(value: bytes) -> bytes:
    """A query, or a text with URLs in it, less the values that are secret by their names, and the logins."""
    return _login.sub(b"://" + REMOVED + b"@", _pairs.sub(_pair, value))


def harmless_head(output: bytes) -> bytes:
    """Of a script's output the response head, or all of it when there is no end of one, less cookies and the like."""
    return harmless(_lines.sub(rb"\1 " + REMOVED, _end_of_head.split(output, 1)[0]))


def _pair(found: re.Match[bytes]) -> bytes:
    return found[1] + b"=" + REMOVED if _is_secret(unquote_to_bytes(found[1])) else found[0]
