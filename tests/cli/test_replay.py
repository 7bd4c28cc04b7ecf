"""Whom a replay runs as."""

from typing import Any

import pytest

from selcgi.cli.failures import _user
from selcgi.errors import StartRefused


def record(step: str, user: str, claimed: str) -> dict[str, Any]:
    return {"id": "8bbab1bf26b1", "step": step, "user": user, "params": [["REMOTE_USER", claimed]]}


@pytest.mark.parametrize(
    "forged",
    [
        record("params", "", "alice"),
        record("mapping", "alic", "alice"),
        record("identity", "alice", "alice"),  # versions before this one wrote the name down as the user
    ],
    ids=["not proven", "cut", "refused"],
)
def test_only_a_proven_name_is_taken_from_the_record(forged: dict[str, Any]) -> None:
    with pytest.raises(StartRefused, match="named the user 'alice', which nothing has proven"):
        _user(forged, None)
    assert _user(forged, "bob") == {"REMOTE_USER": "bob"}
    for proven in (record("mapping", "alice", "alice"), record("mapping", "", "")):
        assert _user(proven, None) == {}
