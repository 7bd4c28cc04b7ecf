"""What tests of system/ share."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def no_descriptor_is_left() -> Iterator[None]:
    before = sorted(Path("/proc/self/fd").iterdir())
    yield
    assert sorted(Path("/proc/self/fd").iterdir()) == before
