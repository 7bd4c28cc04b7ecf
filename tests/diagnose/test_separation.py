"""Domains of a mapping that are asked about one another: as many as are cheap, and those left out are said."""

import pytest

from selcgi.diagnose.doctor import examine
from tests.diagnose.shipped import policy, scene


def test_domains_that_were_not_compared_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    reaching = scene(policy(more={("staff_webapp_t", "user_webapp_t", "process"): ("sigkill",)}))
    monkeypatch.setattr("selcgi.diagnose.separation._TYPES_MOST", 2)
    assert [fault.check for fault in examine(reaching)] == ["reaches-others"]
    monkeypatch.setattr("selcgi.diagnose.separation._TYPES_MOST", 1)
    (note,) = examine(reaching)
    assert (note.check, note.severity) == ("not-looked-at", "note")
    assert "the mapping has 2 domains: whether they reach one another was asked of 1" in note.what
