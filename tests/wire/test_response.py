"""Heads of scripts in any pieces: repaired, refused by name, and never two lines where one was meant."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BadResponse
from selcgi.wire import response
from selcgi.wire.response import HeadReader, ResponseHead, error_page

LIMIT = 16 * 1024
Outcome = tuple[ResponseHead, bytes]


def read(data: bytes, size: int = 0, limit: int = LIMIT) -> Outcome:
    """The head, and all that came after it."""
    reader = HeadReader(limit)
    step = size or max(1, len(data))
    for at in range(0, len(data), step):
        if head := reader.feed(data[at : at + step]):
            return head, reader.rest + data[at + step :]
    return reader.finish()


def assert_reads(data: bytes, wanted: ResponseHead) -> None:
    """Whole, byte by byte, and with a body behind it that looks like a head."""
    assert read(data) == (wanted, b"")
    assert read(data, 1) == (wanted, b"")
    assert read(data + b"A: b\n\n\0") == (wanted, b"A: b\n\n\0")


TYPE = (b"Content-Type", b"text/plain")


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"Content-Type: text/plain\n\n", 200, "OK"),
        (b"Content-Type:text/plain\r\n\r\n", 200, "OK"),
        (b"Content-Type:\t text/plain \t\r\n\n", 200, "OK"),
        (b"Status: 404 Not Found\nContent-Type: text/plain\n\r\n", 404, "Not Found"),
        (b"status:404\nContent-Type: text/plain\n\n", 404, "Not Found"),
        (b"Content-Type: text/plain\nStatus: 299 Odd\n\n", 299, "Odd"),
        (b"HTTP/1.1 203 Changed\r\nContent-Type: text/plain\r\n\r\n", 203, "Changed"),
        (b"HTTP/1.0 200\r\nStatus: 200 OK\r\nContent-Type: text/plain\r\n\r\n", 200, "OK"),
    ],
)
def test_status_of_a_head(data: bytes, status: int, reason: str) -> None:
    assert_reads(data, ResponseHead(status, reason, (TYPE,)))


# Not local: another server's, to be finished by the browser, or no URL at all.
ELSEWHERE = (
    b"https://example.org/",
    b"//example.org/",
    b"/a#b",
    b"a/b",
    b"/a b",
    b"/\\example.org/",
    b"/%zz",
    b"/\xe9",
)
LOCAL = (b"/", b"/local?a=b", b"/a//b;c=1/%C3%A9?x=/../&y=%20", b"/a/../b")


@pytest.mark.parametrize("target", [*ELSEWHERE, *LOCAL])
def test_location_alone_is_a_redirect_that_the_client_follows(target: bytes) -> None:
    local = target if target in LOCAL else None
    assert_reads(b"Location: " + target + b"\n\n", ResponseHead(302, "Found", ((b"Location", target),), local=local))
    assert read(b"Status: 201\nLocation: " + target + b"\n\n")[0].status == 201


@pytest.mark.parametrize("more", [b"Status: 302", b"Content-Type: text/html", b"Set-Cookie: a=1", b"Location: /local"])
def test_location_with_anything_beside_it_is_for_the_client(more: bytes) -> None:
    """A local redirect has nothing else (RFC 3875 section 6.2.2): what it had would be lost."""
    head, _ = read(b"Location: /local\n" + more + b"\n\n")
    assert (head.status, head.local) == (302, None)


def test_headers_keep_their_order_and_the_web_servers_own_are_left_away() -> None:
    hops = ("Connection", "keep-alive", "Proxy-Connection", "Transfer-Encoding", "TE", "Trailer", "UPGRADE")
    data = b"Set-Cookie: a=1\nX: \xff\n" + b"".join(f"{name}: x\n".encode() for name in hops) + b"Set-Cookie: b=2\n\n"
    wanted = ((b"Set-Cookie", b"a=1"), (b"X", b"\xff"), (b"Set-Cookie", b"b=2"))
    assert_reads(data, ResponseHead(200, "OK", wanted))


def test_content_length_is_what_the_head_promises() -> None:
    assert_reads(b"Content-Length: 5\nContent-length: 5\n\n", ResponseHead(200, "OK", ((b"Content-Length", b"5"),), 5))
    for status in (204, 304):
        assert read(b"Status: %d\nContent-Length: 5\n\n" % status)[0].content_length is None


SENDFILE = ("X-Accel-Redirect", "x-accel-limit-rate", "X-Sendfile", "X-Sendfile2", "X-Sendfile-Temporary")
SENDFILE_MORE = (
    "X-LIGHTTPD-send-file",
    "X-Lighttpd-Send-Tempfile",
    "X-Reproxy-URL",
    "X-REPROXY-FILE",
    "X-Archive-Files",
)


@pytest.mark.parametrize("name", [*SENDFILE, *SENDFILE_MORE])
def test_headers_that_have_the_web_server_read_files_need_leave(name: str) -> None:
    head, _ = read(f"{name}: /etc/shadow\n{name}: /b\nContent-Type: text/plain\n\n".encode())
    assert head.removed == (name,)
    assert b"shadow" not in head.encode()
    assert f"{name}: /etc/shadow\r\n".encode() in head.encode(keep_sendfile=True)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\n", "no header"),
        (b"\r\nContent-Type: text/plain\r\n\r\n", "no header"),
        (b"Hello, world\n\n", "'Hello, world'"),
        (b"<!--: spam\nContent-Type: text/plain\n\n", "no header"),
        (b"A : b\n\n", "no header"),
        (b": b\n\n", "no header"),
        (b"A: b\n folded\n\n", "no header"),
        (b"A: b\rStatus: 500\n\n", "control characters"),
        (b"A: b\0\n\n", "control characters"),
        (b"A: b\x7f\n\n", "control characters"),
        (b"A\r: b\n\n", "no header"),
        (b"Status: 100 Continue\n\n", "200 to 599"),
        (b"Status: 600\n\n", "200 to 599"),
        (b"Status: 200OK\n\n", "200 to 599"),
        (b"Status: 200 OK\rX: y\n\n", "control characters"),
        (b"HTTP/1.1 200 OK\rX: y\n\n", "200 to 599"),
        (b"Status:\n\n", "200 to 599"),
        (b"Status: 200\nStatus: 404\n\n", "two statuses"),
        (b"HTTP/1.1 200 OK\nStatus: 404\n\n", "two statuses"),
        (b"A: b\nHTTP/1.1 200 OK\n\n", "no header"),
        (b"Content-Length: 5\nContent-Length: 6\n\n", "Content-Length"),
        (b"Content-Length: +5\n\n", "Content-Length"),
        (b"Content-Length: 5, 5\n\n", "Content-Length"),
        (b"Content-Length:\n\n", "Content-Length"),
        (b"A: b\n" * 101 + b"\n", "more than 100"),
    ],
)
def test_doubtful_heads_are_refused(data: bytes, what: str) -> None:
    for size in (0, 1):
        with pytest.raises(BadResponse, match=what):
            read(data + b"body", size)


def test_reason_of_a_refusal_is_short_and_can_be_shown() -> None:
    with pytest.raises(BadResponse) as caught:
        read(b"\x1b[31m\xff" + b"x" * 9000 + b"\n\n")
    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 150


@pytest.mark.parametrize(("data", "what"), [(b"", "wrote nothing"), (b"A: b\n", "ended within the head")])
def test_output_without_a_whole_head(data: bytes, what: str) -> None:
    with pytest.raises(BadResponse, match=what):
        read(data)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_limit_counts_the_head_with_its_empty_line(size: int) -> None:
    data = b"A: 1234\r\n\r\n"
    assert read(data + b"body", size, len(data))[1] == b"body"
    with pytest.raises(BadResponse, match="longer than 10 bytes"):
        read(data + b"body", size, len(data) - 1)


def test_head_always_fits_in_one_record() -> None:
    data = b"".join(b"H%d: %b\n" % (number, b"x" * 660) for number in range(100)) + b"\n"
    with pytest.raises(BadResponse, match="longer than 65528 bytes"):
        read(data, 0, 1 << 20)


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500, 502, 503, 504])
def test_error_page_is_a_whole_answer_that_names_the_request_alone(status: int) -> None:
    head, body = read(error_page(status, "0a1b2c"))
    assert (head.status, head.content_length) == (status, len(body))
    assert b"0a1b2c" in body
    assert dict(head.headers)[b"Cache-Control"] == b"no-store"
    assert b"Retry-After" not in dict(head.headers)
    assert (b"Retry-After", b"5") in read(error_page(status, "x", 5))[0].headers


PLAIN = (b"A: b", b"Location: /x", b"Set-Cookie: a=1", b"Connection: close", b"X-Sendfile: /f", b"B: \xff\t", b"A: b\r")
SPECIAL = (b"Status: 404 No", b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Content-Length: 4")
BROKEN = (b"junk", b" fold", b"", b"C: \0")
LINES = st.sampled_from((*PLAIN, *SPECIAL, *BROKEN))
ENDS = st.sampled_from([b"\n", b"\r\n"])
OUTPUTS = st.lists(st.tuples(LINES, ENDS).map(b"".join) | st.binary(max_size=6), max_size=8).map(b"".join)


@given(OUTPUTS, st.integers(1, 30), st.integers(5, 90))
@settings(max_examples=300)
def test_any_output_in_any_pieces_gives_the_same_head_or_bad_response(data: bytes, size: int, limit: int) -> None:
    outcomes: list[Outcome | None] = []
    for each in (0, size, 1):
        try:
            outcomes.append(read(data, each, limit))
        except BadResponse:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_location_comes_before_the_status_and_the_rest_keeps_its_order() -> None:
    head, _ = read(b"Status: 301 Moved\nA: b\nlocation: /there\nC: d\n\n")
    assert head.encode() == b"location: /there\r\nStatus: 301 Moved\r\nA: b\r\nC: d\r\n\r\n"


@given(OUTPUTS)
@settings(max_examples=300)
def test_what_is_written_reads_back_as_the_same_head(data: bytes) -> None:
    try:
        head, _ = read(b"A: b\n" + data + b"\n\n")
    except BadResponse:
        return
    written = head.encode(keep_sendfile=True)
    assert re.fullmatch(
        rb"(?:Location: [^\0\r\n]*\r\n)*Status: [2-5][0-9][0-9] [^\0\r\n]+\r\n(?:[^\0\r\n]+\r\n)*\r\n", written
    )
    assert read(written) == (head, b"")
    assert read(head.encode())[0].removed == ()


def test_a_head_is_remembered_unless_it_has_a_cookie() -> None:
    plain, secret = (b"X-Once: remembered\n" + more + b"\n\n" for more in (b"A: b", b"SET-COOKIE: a=secret"))
    for output in (plain, plain, secret, secret):
        before = response._remembered.cache_info().currsize
        head = HeadReader(1000).feed(output)
        assert head is not None
        assert head.headers[0] == (b"X-Once", b"remembered")
        assert head.encode() == head.encode() == response.parse_head(output.removesuffix(b"\n\n")).encode()
        grown = response._remembered.cache_info().currsize - before
        assert grown == 0 or output is plain
