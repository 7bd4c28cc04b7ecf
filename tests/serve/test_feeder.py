"""A body from the web server's socket to the script's stdin: every byte once, in order, however fast either side is."""

import os
from fcntl import F_GETPIPE_SZ, fcntl

from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.errors import BodyTooLarge
from selcgi.serve.splicing import WIDE
from selcgi.wire.records import Kind, encode_record
from tests.serve.line import BEGIN
from tests.serve.uploads import MUCH, Upload, content, fill

Step = tuple[int, int, bool]  # bytes that come in a record; that the script reads then; a pause runs out


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 90_000), st.booleans()), max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_script_reads_what_was_sent_however_fast_either_is(steps: list[Step]) -> None:
    upload = Upload()
    sent = b""
    for size, reads, rings in steps:
        piece = content(size, len(sent))
        sent += piece
        upload.send(encode_record(Kind.STDIN, 1, piece))
        upload.turn()
        if reads:
            upload.script_reads(reads)
        upload.turn()
        if rings:
            upload.owner.timed.ring()
    upload.send(encode_record(Kind.STDIN, 1, b""))
    upload.finish()
    assert upload.read == sent
    assert (upload.feeder.written, upload.body.received, upload.body.complete) == (len(sent), len(sent), True)
    upload.close()
    assert upload.owner.space.used == 0


def test_a_script_that_reads_a_moment_later_needs_no_disk(upload: Upload) -> None:
    fill(upload)
    assert upload.body.kept
    assert upload.owner.timed.timers, "nothing more is read for a moment"
    received = upload.body.received
    upload.turn()
    assert upload.body.received == received
    while upload.body.kept:
        upload.script_reads(1 << 20)
        upload.turn()
    assert not upload.owner.timed.timers, "and it goes on as soon as all is taken"
    upload.send(encode_record(Kind.STDIN, 1, b""))
    upload.finish()
    assert upload.read == b"".join(content(20_000, at) for at in range(0, MUCH, 20_000))
    assert upload.owner.space.of == {}


def test_one_that_does_not_read_has_the_web_server_wait_once(upload: Upload) -> None:
    fill(upload)
    assert upload.owner.timed.ring()
    for _ in range(200):
        upload.send(b"")
        upload.turn()
    assert upload.left == b"", "all was taken"
    assert upload.owner.space.used > 0, "to the disk"
    assert not upload.owner.timed.timers


def test_one_that_reads_slowly_has_the_web_server_wait_again_each_time_that_it_has_taken_some(upload: Upload) -> None:
    fill(upload, 3 * MUCH)
    for _ in range(2):
        received = upload.body.received
        assert upload.owner.timed.ring()
        upload.turn()
        assert upload.body.received > received, "some comes after each pause"
        upload.script_reads(100_000)
        for _ in range(20):
            upload.send(b"")
            upload.turn()
        assert upload.owner.timed.timers
    upload.send(encode_record(Kind.STDIN, 1, b""))
    while not upload.feeder.closed or upload.left:
        upload.owner.timed.ring()
        upload.send(b"")
        upload.turn()
        upload.script_reads(1 << 20)
    upload.finish()
    assert upload.read == b"".join(content(20_000, at) for at in range(0, 3 * MUCH, 20_000))


def test_a_script_that_closes_its_stdin_has_the_rest_thrown_away_at_once(upload: Upload) -> None:
    fill(upload)
    os.close(upload.stdin)
    for _ in range(100):
        upload.send(b"")
        upload.turn()
    assert (upload.feeder.closed, upload.body.unwanted, upload.body.kept) == (True, True, False)
    assert upload.body.error is None
    assert upload.body.received == MUCH
    assert not upload.owner.timed.timers


def test_what_is_too_much_is_an_error_though_it_was_never_kept(upload: Upload) -> None:
    upload.body.expect(30_000, 30_000, "alice")
    upload.send(encode_record(Kind.STDIN, 1, content(20_000, 0)))
    upload.turn()
    upload.script_reads(1 << 20)
    upload.send(encode_record(Kind.STDIN, 1, content(20_000, 0)))
    upload.turn()
    upload.script_reads(1 << 20)
    assert isinstance(upload.body.error, BodyTooLarge)
    assert len(upload.read) == 20_000
    assert not upload.feeder.closed, "a body that broke off must not look complete"


def test_thousands_of_tiny_records_come_whole(upload: Upload) -> None:
    upload.send(b"".join(encode_record(Kind.STDIN, 1, b"%d" % (at % 10)) for at in range(5_000)))
    upload.send(encode_record(Kind.STDIN, 1, b""))
    upload.finish()
    assert upload.read == b"0123456789" * 500


def test_requests_side_by_side_do_not_wait_for_each_others_scripts(upload: Upload) -> None:
    second = BEGIN[:2] + b"\0\2" + BEGIN[4:16] + encode_record(Kind.PARAMS, 2, b"")
    upload.send(second)
    upload.turn()
    fill(upload)
    assert upload.body.received == MUCH
    assert not upload.owner.timed.timers


def test_a_closed_connection_does_not_read_on_after_a_pause(upload: Upload) -> None:
    fill(upload)
    assert upload.owner.timed.timers
    upload.session.close()
    assert not upload.owner.timed.timers
    upload.turn()
    assert upload.exchange.aborted


def test_a_script_that_falls_behind_gets_a_wider_pipe_and_its_body_more_memory(upload: Upload) -> None:
    before = fcntl(upload.stdin, F_GETPIPE_SZ)
    assert not upload.body.roomy
    fill(upload)
    assert upload.body.roomy
    assert fcntl(upload.stdin, F_GETPIPE_SZ) == WIDE > before
    assert upload.owner.space.used == 0
