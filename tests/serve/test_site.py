"""What a start makes of the settings: rules whose place in the log is never ambiguous, and folders that are there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.mapping.table import Query
from selcgi.serve.site import open_site
from selcgi.serve.sources import open_sources, telling_parts
from selcgi.settings import Settings
from tests.fakes import FakeLabels

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        (["/etc/site.map"], 1),
        (["/etc/site.map", "/etc/site.map"], 1),
        (["/etc/a.map", "/srv/b.map"], 1),
        (["/etc/a/site.map", "/etc/b/site.map"], 2),
        (["/a/x/site.map", "/b/x/site.map", "/other.map"], 3),
        (["/a/site.map", "/site.map"], 2),
    ],
)
def test_parts_that_tell_paths_apart(paths: list[str], parts: int) -> None:
    assert telling_parts(map(Path, paths)) == parts


def test_a_rule_names_as_much_of_its_file_as_tells_it_from_others(write: Write) -> None:
    one, two = write("one/site.map", "alice a_t:s0\n"), write("two/site.map", "bob b_t:s0\n")
    for maps, where in (((two,), "site.map:1"), ((one, two), "two/site.map:1")):
        assert open_sources(Settings(maps=maps)).decide(Query("bob", "/x", "")).where == where


@pytest.mark.parametrize("spool", ["no/such/folder", "site.map", "/proc"])
def test_a_spool_that_takes_no_file_stops_the_start(write: Write, tmp_path: Path, spool: str) -> None:
    settings = Settings(maps=(write("site.map", "alice a_t:s0\n"),), roots=(tmp_path,), script_user="nobody")
    open_site(settings, FakeLabels(), print).close()
    with pytest.raises(StartRefused, match=f"spool {tmp_path / spool}: "):
        open_site(replace(settings, spool=tmp_path / spool), FakeLabels(), print)
