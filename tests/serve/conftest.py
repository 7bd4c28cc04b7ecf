"""Sessions, denial listeners and a conduit that are closed when their test is over."""

from collections.abc import Iterator

import pytest

from selcgi.serve.splicing import Conduit
from tests.serve.hearing import Scene
from tests.serve.line import Line


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.close()


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
