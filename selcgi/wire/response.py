"""The head of a script's output (RFC 3875 section 6): read, checked, repaired, written again in one piece.

Decides what of it reaches the web server: always a Status, CRLF line ends, no header that is the web server's own
business, and none that would have it read files on the script's behalf. Anything doubtful is a BadResponse, since a
head that two programs read differently is an attack. Must not do I/O. Used by serve/answer.py and serve/request.py.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import NoReturn

from selcgi.errors import BadResponse
from selcgi.wire.redaction import harmless_head

_END = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5
_STATUS = re.compile(rb"([2-5][0-9][0-9])(?: (.*))?")
_NPH = re.compile(rb"HTTP/[0-9.]+ +(.*)")
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"trailer", b"upgrade")
)  # RFC 9110 section 7.6.1
_NOT_SENT = _HOP_BY_HOP | {b"status"}  # Status is written anew
# With these a script has nginx (and its mod_zip), Apache, lighttpd or perlbal read what its own domain may not.
_SENDFILE = (b"x-accel-", b"x-sendfile", b"x-lighttpd-send-", b"x-reproxy-", b"x-archive-files")
_MOST = 100  # headers
_REMEMBERED_BYTES = 200  # of a head, at most
_ONE_RECORD = 65528  # bytes of the written head: the content of one record, see wire/records.py
# A path and a query of this server (RFC 3986 section 3.3). "//host" is another server's, and "#" is for browsers.
_LOCAL = re.compile(rb"/(?!/)(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_NO_BODY = frozenset((204, 304))  # RFC 9110 section 8.6: what a 304 says of the length is not of its own body
_FIX = "the script must print its headers and an empty line before anything else"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What goes out. `removed` names the `headers` that only encode(keep_sendfile=True) writes. Location comes first:
    HAProxy makes any status a 302 when Location comes after it.

    `content_length` is how many bytes of body the head promises, None when it promises nothing. `local` is the target
    of a local redirect (RFC 3875 section 6.2.2), which has a Location and nothing else, if there is no body either.
    """

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    content_length: int | None = None
    removed: tuple[str, ...] = ()
    local: bytes | None = None
    _encoded: dict[bool, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def encode(self, keep_sendfile: bool = False) -> bytes:
        """The block with its empty line, for one record: HAProxy 2.6 dies of a head that is split over two."""
        block = self._encoded.get(keep_sendfile)
        if block is None:
            lines = [name + b": " + value for name, value in self.headers if keep_sendfile or not _reads_files(name)]
            locations = sum(_is_location(pair) for pair in self.headers)
            lines.insert(locations, f"Status: {self.status} {self.reason}".encode("latin-1"))
            block = self._encoded[keep_sendfile] = b"\r\n".join(lines) + b"\r\n\r\n"
        return block


class HeadReader:
    """The script's output in by feed() until the head is whole; what followed it is then in `rest`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes of the head with its empty line, as the script writes it
        self._kept = bytearray()
        self.rest = b""

    def feed(self, data: bytes) -> ResponseHead | None:
        """BadResponse when the head is malformed or longer than the limit."""
        start = max(0, len(self._kept) - 3)  # an end may have begun before
        self._kept += data
        end = _END.search(self._kept, start)
        if (len(self._kept) if end is None else end.end()) > self._limit:
            raise BadResponse(f"the head is longer than {self._limit} bytes", _FIX)
        if end is None:
            return None
        self.rest = bytes(self._kept[end.end() :])
        return _parse(bytes(self._kept[: end.start()]))

    def finish(self) -> NoReturn:
        """The output has ended before the head did. BadResponse, always."""
        if not self._kept:
            raise BadResponse("the script wrote nothing", "see its stderr in the log, and its exit code")
        raise BadResponse(f"the output ended within the head, after {_quoted(bytes(self._kept))}", _FIX)


def _parse(block: bytes) -> ResponseHead:
    """As parse_head(). Scripts print few heads, again and again; none with a cookie is remembered."""
    if len(block) > _REMEMBERED_BYTES or b"cookie" in block.lower():
        return parse_head(block)
    return _remembered(block)


def parse_head(block: bytes) -> ResponseHead:
    """A head without its empty line. BadResponse when it is malformed."""
    first, *others = (line.removesuffix(b"\r") for line in block.split(b"\n"))
    nph = _NPH.fullmatch(first)
    pairs = [_header(line) for line in (others if nph else (first, *others))]
    said = [_status(value) for name, value in pairs if name.lower() == b"status"]
    headers = [pair for pair in pairs if pair[0].lower() not in _NOT_SENT]
    if nph:
        said.append(_status(nph[1]))
    if len({status for status, _ in said}) > 1:
        raise BadResponse(f"two statuses: {said[0][0]} and {said[-1][0]}", "print one Status")
    if len(headers) > _MOST:
        raise BadResponse(f"more than {_MOST} headers")
    return _head(said[0] if said else None, headers)


_remembered = lru_cache(maxsize=64)(parse_head)


def _head(status: tuple[int, str] | None, headers: list[tuple[bytes, bytes]]) -> ResponseHead:
    lengths = {value for name, value in headers if name.lower() == b"content-length"}
    if len(lengths) > 1 or any(not value.isdigit() or len(value) > 18 for value in lengths):
        raise BadResponse(f"Content-Length is {b', '.join(sorted(lengths))[:80]!a}")
    local = None
    if status is None:
        # RFC 3875 sections 6.2.2 and 6.2.3; no web server redirects internally for FastCGI.
        local = headers[0][1] if len(headers) == 1 and _is_location(headers[0]) else None
        status = (302, "Found") if any(map(_is_location, headers)) else (200, "OK")
    head = ResponseHead(
        *status,
        tuple(sorted(_once(headers, b"content-length"), key=lambda pair: not _is_location(pair))),
        int(lengths.pop()) if lengths and status[0] not in _NO_BODY else None,
        tuple(dict.fromkeys(name.decode("ascii") for name, _ in headers if _reads_files(name))),
        local if local and _LOCAL.fullmatch(local) else None,
    )
    if len(head.encode(keep_sendfile=True)) > _ONE_RECORD:
        raise BadResponse(f"the head is longer than {_ONE_RECORD} bytes", "print fewer headers")
    return head


def _is_location(pair: tuple[bytes, bytes]) -> bool:
    return pair[0].lower() == b"location"


def _once(headers: list[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    seen: list[tuple[bytes, bytes]] = []
    for pair in headers:
        if pair[0].lower() != name or all(one[0].lower() != name for one in seen):
            seen.append(pair)
    return seen


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name):
        raise BadResponse(f"no header: {_quoted(line)}", _FIX)
    value = value.strip(b" \t")
    if not _VALUE.fullmatch(value):
        raise BadResponse(f"control characters in a header: {_quoted(line)}")
    return name, value


def _status(value: bytes) -> tuple[int, str]:
    """1xx is refused: no final answer would follow (RFC 9110 section 15.2)."""
    found = _STATUS.fullmatch(value.strip(b" \t"))
    if found is None or not _VALUE.fullmatch(value):
        raise BadResponse(f"no status from 200 to 599: {_quoted(value)}")
    return int(found[1]), (found[2] or b"").decode("latin-1").strip() or _phrase(int(found[1]))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def _reads_files(name: bytes) -> bool:
    return name.lower().startswith(_SENDFILE)


def _quoted(line: bytes) -> str:
    return ascii(harmless_head(line[:80]).decode("latin-1"))


def error_page(status: int, request_id: str, retry_after: int | None = None) -> bytes:
    """A whole answer for a request that was refused or failed. It names the request and nothing else of selcgi."""
    title = f"{status} {_phrase(status)}"
    body = f"<!DOCTYPE html>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>Request {request_id}</p>\n".encode()
    headers = [(b"Content-Type", b"text/html; charset=utf-8"), (b"Content-Length", b"%d" % len(body))]
    headers.append((b"Cache-Control", b"no-store"))
    if retry_after is not None:
        headers.append((b"Retry-After", b"%d" % retry_after))
    return ResponseHead(status, _phrase(status), tuple(headers), len(body)).encode() + body
