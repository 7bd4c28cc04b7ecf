"""Sessions, denial listeners, a conduit and log files that are closed when their test is over."""

import logging
from collections.abc import Iterator

import pytest

from selcgi.serve.splicing import Conduit
from tests.serve.hearing import Scene
from tests.serve.line import Line
from tests.serve.uploads import Upload


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.close()


@pytest.fixture
def upload() -> Iterator[Upload]:
    made = Upload()
    yield made
    made.close()


@pytest.fixture
def conduit() -> Iterator[Conduit]:
    made = Conduit()
    yield made
    made.close()


@pytest.fixture
def scene() -> Iterator[list[Scene]]:
    made: list[Scene] = []
    yield made
    for one in made:
        one.close()


@pytest.fixture
def root_logger() -> Iterator[None]:
    """As it was, whatever set_up() made of it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level
