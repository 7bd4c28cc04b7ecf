"""A body is what came, in order, in memory or on disk; too long, too short or without room it is an error by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.errors import BadRequest, BodyTooLarge, Overloaded, SelcgiError
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.splicing import PIECE
from selcgi.settings import Settings
from selcgi.system.processes import open_descriptors

IN_MEMORY = 100
SETTINGS = Settings(body_memory_bytes=IN_MEMORY, spool=Path("/var/tmp"))


@pytest.fixture
def space() -> SpoolSpace:
    return SpoolSpace(10_000)


@pytest.fixture
def body(space: SpoolSpace) -> Iterator[Body]:
    made = Body(SETTINGS, space, 5000)
    yield made
    made.close()


def drain(body: Body) -> bytes:
    found = b""
    while piece := bytes(body.peek()):
        found += piece
        body.consume(len(piece))
    return found


Step = tuple[bool, int]  # bytes come, or are taken; how many


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=40))
def test_what_comes_out_is_what_came_in(steps: list[Step]) -> None:
    space = SpoolSpace(1 << 20)
    body = Body(SETTINGS, space, 1 << 20)
    sent, got = b"", b""
    for coming, size in steps:
        if coming:
            piece = bytes(len(sent) + at & 255 for at in range(size))
            sent += piece
            body.feed(piece)
        else:
            shown = bytes(body.peek())[:size]
            body.consume(len(shown))
            got += shown
    body.end()
    got += drain(body)
    assert (got, body.received, body.complete) == (sent, len(sent), True)
    body.close()
    assert space.used == 0


def test_what_fits_stays_in_memory_and_one_byte_more_goes_to_disk(body: Body, space: SpoolSpace) -> None:
    before = open_descriptors()
    body.feed(b"x" * IN_MEMORY)
    assert (space.used, open_descriptors()) == (0, before)
    body.feed(b"y")
    assert space.used == 1
    (file,) = open_descriptors() - before
    assert Path(f"/proc/self/fd/{file}").readlink().name.endswith("(deleted)")
    body.close()
    assert (space.used, open_descriptors()) == (0, before)


def test_a_long_body_comes_in_pieces_that_a_pipe_can_take(space: SpoolSpace) -> None:
    body = Body(Settings(body_memory_bytes=1 << 20), space, 1 << 20)
    body.feed(b"x" * (PIECE + 1))
    assert len(body.peek()) == PIECE


@pytest.mark.parametrize(
    ("expected", "pieces", "error"),
    [
        (None, [5000], None),
        (None, [5001], BodyTooLarge),
        (None, [2500, 2501], BodyTooLarge),
        (10, [10], None),
        (10, [11], BadRequest),
        (10, [9], BadRequest),
        (0, [], None),
        (0, [1], BadRequest),
    ],
)
def test_lengths(body: Body, expected: int | None, pieces: list[int], error: type[SelcgiError] | None) -> None:
    body.expect(expected, 5000, "")
    for size in pieces:
        body.feed(b"x" * size)
    body.end()
    assert (type(body.error) if body.error else None) is error
    if error is not None:
        assert not body.complete or not body.peek()


@pytest.mark.parametrize(("expected", "error"), [(5001, BodyTooLarge), (3, BadRequest), (5, BadRequest)])
def test_what_came_before_the_params_were_read_counts(body: Body, expected: int, error: type[SelcgiError]) -> None:
    body.feed(b"four")
    body.end()
    with pytest.raises(error):
        body.expect(expected, 5000, "")


def test_all_that_was_declared_is_enough_without_an_end(body: Body) -> None:
    body.expect(4, 5000, "")
    body.feed(b"four")
    assert (body.arrived, body.complete, body.ended) == (True, False, False)
    assert drain(body) == b"four"
    assert body.complete


def test_a_full_spool_is_an_overload_of_this_body_alone(space: SpoolSpace) -> None:
    first, second = (Body(SETTINGS, space, 1 << 20) for _ in range(2))
    first.feed(b"x" * 9_000)
    second.feed(b"y" * 2_000)
    assert isinstance(second.error, Overloaded)
    assert "--spool-total" in second.error.fix
    assert first.error is None
    assert drain(first) == b"x" * 9_000
    second.feed(b"z" * 9_000)
    assert second.received == 11_000
    assert space.used == 0
    first.close()
    second.close()


def test_one_user_leaves_the_others_some_of_the_spool(space: SpoolSpace) -> None:
    greedy = [Body(SETTINGS, space, 1 << 20) for _ in range(2)]
    for body in greedy:
        body.expect(None, 1 << 20, "alice")
        body.feed(b"x" * 4_000)
    other = Body(SETTINGS, space, 1 << 20)
    other.feed(b"y" * 2_000)
    other.expect(None, 1 << 20, "bob")
    assert (other.error, greedy[0].error) == (None, None)
    assert isinstance(greedy[1].error, Overloaded)
    for body in (*greedy, other):
        body.close()
    assert (space.used, +space.of) == (0, {})


def test_what_came_before_its_user_was_known_counts_as_well(space: SpoolSpace) -> None:
    body = Body(SETTINGS, space, 1 << 20)
    body.feed(b"x" * 8_000)
    with pytest.raises(Overloaded, match="bodies of this user hold 0 bytes on disk, 7500 are allowed"):
        body.expect(None, 1 << 20, "alice")
    body.close()
    assert (space.used, +space.of) == (0, {})


def test_a_folder_that_cannot_be_written_is_an_overload_that_names_it(space: SpoolSpace) -> None:
    body = Body(Settings(body_memory_bytes=0, spool=Path("/proc")), space, 5000)
    body.feed(b"x")
    assert isinstance(body.error, Overloaded)
    assert "/proc" in body.error.reason
    assert space.used == 0


def test_what_nobody_wants_is_counted_and_not_kept(body: Body, space: SpoolSpace) -> None:
    body.feed(b"x" * 1000)
    body.discard()
    body.feed(b"y" * 10_000)
    assert (body.received, bytes(body.peek()), space.used, body.error) == (11_000, b"", 0, None)
