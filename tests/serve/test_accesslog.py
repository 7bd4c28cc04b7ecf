"""The line of a request says the same whichever way it is written."""

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.serve.accesslog import _NAMES, _WHEN_SET, Entry
from selcgi.serve.escapes import word

TEXTS = st.sampled_from(["", "a", "/srv/cgi/x.cgi", "two words", 'a"b', "x=y", "signal 9", "é", "a\nb", "-"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("time", "id", "selinux"), st.sampled_from(["", "off"])),
    **dict.fromkeys(("listener", "user", "auth", "rule", "context", "script", "method", "exit"), TEXTS),
    **dict.fromkeys(("killed_by", "step", "redirect", "reason", "fix", "launch"), TEXTS),
    **dict.fromkeys(("status", "bytes_in", "bytes_out"), st.integers(0, 999)),
    "seconds": st.floats(0, 99),
    "cpu_s": st.none() | st.floats(0, 99),
    "maxrss": st.none() | st.integers(0, 1 << 40),
    "denied": st.sampled_from([(), ("a sentence",)]),
}


def in_full(entry: Entry) -> str:
    pairs = ((name, getattr(entry, name)) for name in _NAMES)
    return " ".join(f"{name}={word(value)}" for name, value in pairs if value or name not in _WHEN_SET)


@given(st.fixed_dictionaries({}, optional=FIELDS))
@settings(max_examples=500)
def test_the_usual_line_is_the_whole_line(fields: dict[str, Any]) -> None:
    assert str(Entry(**fields)) == in_full(Entry(**fields))


def test_a_request_as_most_are_takes_the_short_way() -> None:
    entry = Entry(id="abc", script="/srv/cgi/x.cgi", status=200, selinux="off", cpu_s=0.25)
    assert entry._usual() == in_full(entry) != ""


def test_a_handler_of_another_kind_gets_the_line_as_a_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Entry(id="abc", status=200).write()
    (record,) = caplog.records
    assert record.getMessage().startswith("time=")
    assert " id=abc " in record.getMessage()
    assert record.__dict__["fields"]["status"] == 200
