"""The channel of one warm request: whether the job was taken, whoever has the other end, and when it is asked."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from selcgi.launch.channel import Channel
from selcgi.zygote.frames import Job

JOB = Job((b"x",), {b"NAME": b"value"}, "", (), None)


@pytest.fixture
def channel() -> Iterator[Channel]:
    with closing(Channel()) as made:
        yield made


def test_a_job_that_is_read_is_taken(channel: Channel) -> None:
    channel.send(JOB)
    assert channel.theirs.recv(65536)
    channel.theirs.close()
    assert not channel.untaken()


@pytest.mark.parametrize("read", [0, 1])
def test_a_job_that_nobody_read_to_its_end_is_not(channel: Channel, read: int) -> None:
    channel.send(JOB)
    assert not read or len(channel.theirs.recv(read)) == read
    assert channel.untaken()


def test_nor_is_one_whose_last_reader_has_just_gone(channel: Channel) -> None:
    """What waited for it is no more, and nothing has been read since."""
    channel.send(JOB)
    channel.theirs.close()
    assert channel.untaken()


def test_nor_is_one_that_came_too_late(channel: Channel) -> None:
    channel.theirs.shutdown(socket.SHUT_RDWR)
    channel.send(JOB)
    assert channel.untaken()
