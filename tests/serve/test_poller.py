"""The one epoll of a worker, on real descriptors: who is called, and who is not any more."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from selcgi.serve.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    with closing(Poller()) as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    yield ends
    for end in ends:
        os.close(end)


def test_a_reader_is_called_as_long_as_there_is_something_to_read(poller: Poller, pipe: tuple[int, int]) -> None:
    calls: list[str] = []
    poller.add_reader(pipe[0], lambda: calls.append("read"))
    poller.dispatch()
    assert calls == []
    os.write(pipe[1], b"x")
    poller.dispatch()
    poller.dispatch()
    assert calls == ["read", "read"]
    poller.remove_reader(pipe[0])
    poller.dispatch()
    assert calls == ["read", "read"]


def test_the_end_of_a_file_calls_its_reader_and_a_lost_reader_the_writer(poller: Poller) -> None:
    calls: list[str] = []
    for end, name in ((0, "reader"), (1, "writer")):
        ends = os.pipe2(os.O_CLOEXEC)
        os.close(ends[1 - end])
        (poller.add_reader if end == 0 else poller.add_writer)(ends[end], lambda name=name: calls.append(name))  # type: ignore[misc]
        poller.dispatch()
        (poller.remove_reader if end == 0 else poller.remove_writer)(ends[end])
        os.close(ends[end])
    assert calls == ["reader", "writer"]


def test_one_descriptor_may_have_both_and_lose_either(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        calls: list[str] = []
        poller.add_reader(ours.fileno(), lambda: calls.append("read"))
        poller.add_writer(ours.fileno(), lambda: calls.append("write"))
        theirs.send(b"x")
        poller.dispatch()
        assert calls == ["read", "write"]
        poller.remove_writer(ours.fileno())
        poller.dispatch()
        assert calls == ["read", "write", "read"]
        poller.add_writer(ours.fileno(), lambda: calls.append("write"))
        poller.remove_reader(ours.fileno())
        poller.dispatch()
        assert calls == ["read", "write", "read", "write"]
        poller.remove_writer(ours.fileno())
        poller.remove_writer(ours.fileno())


def test_a_call_that_an_earlier_one_of_the_turn_removed_is_not_made(poller: Poller) -> None:
    first, second = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    calls: list[int] = []

    def remove_both(mine: int) -> None:
        calls.append(mine)
        poller.remove_reader(first[0])
        poller.remove_reader(second[0])

    for ends in (first, second):
        os.write(ends[1], b"x")
        poller.add_reader(ends[0], lambda mine=ends[0]: remove_both(mine))  # type: ignore[misc]
    poller.dispatch()
    assert len(calls) == 1
    for end in (*first, *second):
        os.close(end)


def test_what_a_call_raises_is_told_or_raised(poller: Poller, pipe: tuple[int, int]) -> None:
    told: list[Exception] = []
    os.write(pipe[1], b"x")
    poller.add_reader(pipe[0], lambda: int("none"), told.append)
    poller.dispatch()
    assert [type(error) for error in told] == [ValueError]
    poller.add_reader(pipe[0], lambda: int("none"))
    with pytest.raises(ValueError, match="none"):
        poller.dispatch()
    assert len(told) == 1


def test_what_tells_of_an_end_is_called_before_what_was_written(poller: Poller, pipe: tuple[int, int]) -> None:
    calls: list[str] = []
    end = os.eventfd(0)
    poller.add_reader(pipe[0], lambda: calls.append("read"))
    poller.add_end(end, lambda: calls.append("end"))
    os.write(pipe[1], b"x")
    os.eventfd_write(end, 1)
    poller.dispatch()
    assert calls == ["end", "read"]
    poller.remove_end(end)
    poller.remove_end(end)
    poller.dispatch()
    assert calls == ["end", "read", "read"]
    os.close(end)


def test_what_the_call_of_an_end_takes_away_is_not_called_in_the_same_turn(
    poller: Poller, pipe: tuple[int, int]
) -> None:
    calls: list[str] = []
    end = os.eventfd(1)
    poller.add_reader(pipe[0], lambda: calls.append("read"))
    poller.add_end(end, lambda: poller.remove_reader(pipe[0]))
    os.write(pipe[1], b"x")
    poller.dispatch()
    assert calls == []
    os.close(end)


def test_a_hangup_is_told_before_what_was_written_and_not_without_a_reader(poller: Poller) -> None:
    calls: list[str] = []
    reads, writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    poller.add_reader(reads, lambda: calls.append("read"), None, lambda: calls.append("hangup"))
    os.write(writes, b"x")
    poller.dispatch()
    assert calls == ["read"]
    copy = os.dup(writes)
    os.close(writes)
    poller.dispatch()
    assert calls == ["read", "read"], "somebody has it open still"
    os.close(copy)
    poller.dispatch()
    assert calls == ["read", "read", "hangup", "read"]
    poller.remove_reader(reads)
    poller.add_reader(reads, lambda: calls.append("read"))
    poller.dispatch()
    assert calls == ["read", "read", "hangup", "read", "read"]
    poller.remove_reader(reads)
    os.close(reads)
