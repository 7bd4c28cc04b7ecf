"""What the environment of the tests must not bring into an interpreter that is to be warm."""

import pytest


@pytest.fixture(autouse=True)
def no_cache_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest sets it for its own sake; a warm interpreter that finds it does not start."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
