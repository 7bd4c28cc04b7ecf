"""Invariant: any output gives a head or a BadResponse, and any split of it the same one.

What is sent is one block of `Name: value` lines that every reader reads alike: always one Status, no CR, LF or NUL but
at the line ends, nothing that the script did not write, no X-Accel-* and the like unless they are allowed. Read again
it is the same head. Input: what a script writes.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from selcgi.errors import BadResponse
from selcgi.wire.response import HeadReader, ResponseHead
from tests.fuzz.pieces import splits

LIMIT = 400
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\t -~\x80-\xff]*)")
_STATUS = re.compile(rb"([2-5]\d\d) \S.*")
_READS_FILES = re.compile(rb"x-accel-|x-sendfile|x-lighttpd-send-|x-reproxy-url")
_WEB_SERVERS = b"connection keep-alive proxy-connection transfer-encoding te trailer upgrade".split()
Outcome = tuple[ResponseHead, bytes] | None


def check(data: bytes) -> None:
    whole = _read([data])
    for pieces in splits(data):
        assert _read(pieces) == whole, f"{_read(pieces)}, and whole {whole}"
    if whole is None:
        return
    head, rest = whole
    written = data.removesuffix(rest)
    assert re.search(rb"\n\r?\n\Z", written), "the body begins after the empty line"
    assert len(written) <= LIMIT
    for keep in (False, True):
        _check_sent(head, head.encode(keep), written, keep)
    # What is sent has a Status, and a head with one is no local redirect (RFC 3875 section 6.2.2).
    assert _read_again(head) == replace(head, local=None), f"{head} is read again as {_read_again(head)}"


def _read(pieces: Iterable[bytes]) -> Outcome:
    """The head and all that came after it; None for a BadResponse."""
    reader, after, head = HeadReader(LIMIT), b"", None
    try:
        for piece in pieces:
            if head is not None:
                after += piece
            else:
                head = reader.feed(piece)
        if head is None:
            reader.finish()
    except BadResponse as error:
        assert str(error).isprintable(), error
        return None
    return head, reader.rest + after


def _read_again(head: ResponseHead) -> ResponseHead | None:
    return HeadReader(1 << 20).feed(head.encode(keep_sendfile=True))


def _check_sent(head: ResponseHead, sent: bytes, written: bytes, keep: bool) -> None:
    assert sent.endswith(b"\r\n\r\n")
    assert len(sent) <= 65528, "it fits into one record"
    lines = [_LINE.fullmatch(line) for line in sent[:-4].split(b"\r\n")]
    assert all(lines), f"a line of {sent!r} is none"
    pairs = [(line[1], line[2]) for line in lines if line]
    names = [name.lower() for name, _ in pairs]
    assert names.count(b"status") == 1, sent
    assert names.count(b"content-length") <= 1, sent
    assert not set(names).intersection(_WEB_SERVERS), sent
    assert names[: names.index(b"status")] == [b"location"] * names.count(b"location"), sent
    assert keep or not any(map(_READS_FILES.match, names)), f"the web server would read a file: {sent!r}"
    for name, value in pairs:
        if name == b"Status":
            _check_status(head.status, value, written, b"location" in names)
        else:
            assert re.search(rb"(?m)^" + re.escape(name) + rb":[ \t]*" + re.escape(value), written), (name, value)
        if name.lower() == b"content-length":
            assert head.content_length == (None if head.status in (204, 304) else int(value)), sent


def _check_status(status: int, value: bytes, written: bytes, located: bool) -> None:
    """As the script says it, or else by RFC 3875 section 6.2."""
    found = _STATUS.fullmatch(value)
    assert found, value
    assert int(found[1]) == status
    said = set(re.findall(rb"(?mi)^status:[ \t]*(\d+)|\Ahttp/[0-9.]+ +(\d+)", written))
    wanted = {int(one or other) for one, other in said} or {302 if located else 200}
    assert wanted == {status}, f"{status}, wanted {wanted}"
