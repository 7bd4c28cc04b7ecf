"""A large body that goes from the web server's socket to the script's pipe unread: the same as one that is read."""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BadRequest, BodyTooLarge
from selcgi.serve.feeder import Feeder
from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN, tcp, unix
from tests.serve.uploads import LIMIT, MUCH, Upload, content, fill

RECORD = 40_000
END = encode_record(Kind.STDIN, 1, b"")
splice = os.splice


class Spliced:
    """What os.splice() has moved out of sockets, and what it shall fail with."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.asked = 0
        self.error: OSError | None = None

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def __call__(self, source: int, sink: int, most: int) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        size = splice(source, sink, most)
        self.sizes.append(size)
        return size


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> Spliced:
    counting = Spliced()
    monkeypatch.setattr("selcgi.serve.intake.os.splice", counting)
    return counting


@pytest.fixture(params=[unix, tcp])
def large(request: pytest.FixtureRequest) -> Iterator[Upload]:
    made = type("Connected", (Upload,), {"pair": staticmethod(request.param)})()
    yield made
    made.close()


def record(size: int, start: int, padding: int = 0) -> bytes:
    return struct.pack("!BBHHBx", 1, Kind.STDIN, 1, size, padding) + content(size, start) + bytes(padding)


def body(size: int, padding: int = 0) -> bytes:
    return b"".join(record(RECORD, at, padding) for at in range(0, size, RECORD))


def settle(upload: Upload, reads: int = 1 << 20) -> None:
    for _ in range(200):
        upload.send(b"")
        upload.turn()
        if reads:
            upload.script_reads(reads)


@pytest.mark.parametrize("padding", [0, 5])
def test_a_body_that_comes_in_bulk_goes_past(large: Upload, spliced: Spliced, padding: int) -> None:
    large.body.expect(MUCH, MUCH, "alice")
    large.send(body(MUCH, padding))
    settle(large)
    assert large.feeder.closed, "the declared length is in"
    large.send(END)
    large.finish()
    assert large.read == content(MUCH, 0)
    assert (large.feeder.written, large.body.received, large.body.ended) == (MUCH, MUCH, True)
    assert spliced.total > MUCH // 2
    assert large.body.error is None


def test_a_small_body_is_read(upload: Upload, spliced: Spliced) -> None:
    for _ in range(20):
        upload.send(record(3_000, 0))
        settle(upload)
    upload.send(END)
    upload.finish()
    assert len(upload.read) == 60_000
    assert spliced.asked == 0


def test_what_comes_in_drops_behind_a_bulk_is_read(upload: Upload, spliced: Spliced) -> None:
    for size in (RECORD, 3_000, 3_000, 3_000):
        upload.send(record(size, 0))
        settle(upload)
    assert upload.body.received == RECORD + 9_000
    assert spliced.sizes == [3_000]


def test_content_that_came_without_its_padding_is_not_lost(large: Upload, spliced: Spliced) -> None:
    large.send(record(RECORD, 0) + record(10_000, RECORD, 7)[:-4])
    settle(large)
    large.send(bytes(4) + record(RECORD, RECORD + 10_000))
    settle(large)
    large.send(END)
    large.finish()
    assert large.read == content(2 * RECORD + 10_000, 0)
    assert spliced.total > 0


Step = tuple[int, int, int, bool]  # bytes of a record, of its padding; that the script reads; a pause runs out
STEPS = st.lists(
    st.tuples(st.integers(1, 65535), st.sampled_from([0, 1, 7]), st.integers(0, 200_000), st.booleans()), max_size=20
)


@given(STEPS, st.integers(1, 200_000))
@settings(max_examples=60, deadline=None)
def test_every_byte_comes_once_and_in_order_wherever_the_stream_is_cut(steps: list[Step], cut: int) -> None:
    upload = Upload()
    fill(upload, 60_000)
    upload.script_reads(1 << 20)
    sent, late = content(20_000, 0) + content(20_000, 20_000) + content(20_000, 40_000), b""
    for size, padding, reads, rings in steps:
        late += record(size, len(sent), padding)
        sent += content(size, len(sent))
        piece, late = late[:cut], late[cut:]
        upload.send(piece)
        upload.turn()
        upload.script_reads(reads)
        upload.turn()
        if rings:
            upload.owner.timed.ring()
    upload.send(late + END)
    upload.finish()
    assert upload.read == sent
    assert (upload.feeder.written, upload.body.received, upload.body.complete) == (len(sent), len(sent), True)
    upload.close()
    assert upload.owner.space.used == 0


def test_one_that_ends_too_early_never_looks_complete(large: Upload, spliced: Spliced) -> None:
    large.body.expect(MUCH + 1, MUCH + 1, "alice")
    large.send(body(MUCH) + END)
    settle(large)
    assert isinstance(large.body.error, BadRequest)
    assert (large.read, large.feeder.closed) == (content(MUCH, 0), False)
    assert spliced.total > 0


@pytest.mark.parametrize("excess", [9, RECORD])
@pytest.mark.parametrize("declares", [True, False])
def test_of_one_that_is_too_long_the_script_gets_no_byte_too_many(
    large: Upload, spliced: Spliced, declares: bool, excess: int
) -> None:
    allowed = MUCH - excess
    large.body.expect(allowed if declares else None, MUCH if declares else allowed, "alice")
    large.send(body(MUCH) + END)
    settle(large)
    assert isinstance(large.body.error, BadRequest if declares else BodyTooLarge)
    assert large.read == content(len(large.read), 0)
    assert len(large.read) <= allowed
    assert not large.feeder.closed
    assert large.feeder.written == len(large.read)
    assert spliced.total > 0


def abort(upload: Upload) -> None:
    upload.send(record(RECORD, MUCH) + encode_record(Kind.ABORT_REQUEST, 1, b""))


def leave(upload: Upload) -> None:
    upload.send(record(RECORD, MUCH)[:-1])
    settle(upload)
    upload.peer.close()


@pytest.mark.parametrize("how", [abort, leave])
def test_a_client_that_leaves_is_seen(large: Upload, spliced: Spliced, how: Callable[[Upload], None]) -> None:
    large.send(body(MUCH))
    settle(large)
    how(large)
    for _ in range(20):
        with suppress(OSError):
            large.send(b"")
        large.turn()
        large.script_reads(1 << 20)
    assert large.exchange.aborted
    assert (large.feeder.closed, large.body.ended) == (False, False)
    assert large.read[:MUCH] == content(MUCH, 0)
    assert spliced.total > 0


def test_a_script_that_stops_reading_does_not_stop_the_web_server(large: Upload, spliced: Spliced) -> None:
    large.send(body(MUCH))
    settle(large)
    before = spliced.total
    large.send(b"".join(record(RECORD, at) for at in range(MUCH, 3 * MUCH, RECORD)))
    for _ in range(10):
        settle(large, 0)
        large.owner.timed.ring()
    assert large.left == b"", "all was taken"
    assert large.body.received == 3 * MUCH
    assert large.owner.space.used > 0, "to the disk"
    large.send(END)
    large.finish()
    assert large.read == content(3 * MUCH, 0)
    assert 0 < before < MUCH


def test_one_that_closes_its_stdin_has_the_rest_thrown_away(large: Upload, spliced: Spliced) -> None:
    large.send(body(MUCH))
    settle(large)
    os.close(large.stdin)
    large.send(body(MUCH) + END)
    settle(large, 0)
    assert (large.feeder.closed, large.body.unwanted, large.body.error) == (True, True, None)
    assert (large.body.received, large.body.ended) == (2 * MUCH, True)
    assert spliced.total > 0


def test_another_request_on_the_connection_gets_its_own_body(upload: Upload, spliced: Spliced) -> None:
    second = BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b"")
    upload.send(body(MUCH))
    settle(upload)
    before = spliced.total
    upload.send(record(RECORD, MUCH) + second + encode_record(Kind.STDIN, 2, b"its own") + record(RECORD, MUCH))
    settle(upload)
    one, other = upload.owner.exchanges
    assert (one.body.received, other.body.received) == (MUCH + 2 * RECORD, 7)
    assert upload.read == content(MUCH, 0) + content(RECORD, MUCH) * 2
    assert before > 0
    asked = spliced.asked
    upload.send(body(MUCH))
    settle(upload)
    assert spliced.asked == asked, "two at a time are read"


def test_the_next_request_of_a_kept_connection_begins_behind_it(upload: Upload, spliced: Spliced) -> None:
    upload.body.expect(MUCH, MUCH, "alice")
    upload.send(body(MUCH) + END)
    settle(upload)
    upload.exchange.end(0)
    asked = spliced.asked
    upload.send(BEGIN + body(2 * RECORD) + END)
    settle(upload)
    upload.owner.timed.ring()
    settle(upload)
    one, other = upload.owner.exchanges
    assert (one.body.received, other.body.received, other.body.ended) == (MUCH, 2 * RECORD, True)
    with other.body.peek() as piece:
        assert bytes(piece) == content(len(piece), 0)
    assert upload.read == content(MUCH, 0)
    assert spliced.asked == asked > 0, "nobody reads the other yet"
    other.body.close()


def test_a_body_that_nobody_reads_is_no_refusal_of_the_kernel(upload: Upload, spliced: Spliced) -> None:
    upload.body.expect(None, LIMIT, "alice")
    upload.send(body(MUCH))
    settle(upload)
    upload.feeder.close()
    upload.send(record(RECORD, MUCH) + END)
    settle(upload)
    upload.exchange.end(0)
    before = spliced.total
    upload.send(BEGIN)
    settle(upload)
    upload.send(record(RECORD, 0))  # before anybody reads it
    settle(upload)
    kept, upload.exchange = upload.exchange, upload.owner.exchanges[1]
    os.close(upload.stdin)
    upload.stdin, entry = os.pipe2(os.O_NONBLOCK)
    upload.feeder = Feeder(upload.exchange, entry, upload.push, upload.failed)
    upload.exchange.on_input, upload.read = upload.push, b""
    upload.push()
    settle(upload)
    upload.send(b"".join(record(RECORD, at) for at in range(RECORD, MUCH, RECORD)) + END)
    upload.finish()
    assert upload.read == content(MUCH, 0)
    assert spliced.total > before
    kept.body.close()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.EACCES])
def test_where_the_kernel_refuses_it_is_asked_once_and_all_is_read(upload: Upload, spliced: Spliced, code: int) -> None:
    spliced.error = OSError(code, "no")
    upload.send(body(MUCH))
    settle(upload)
    upload.send(END)
    upload.finish()
    assert upload.read == content(MUCH, 0)
    assert spliced.asked == 1
