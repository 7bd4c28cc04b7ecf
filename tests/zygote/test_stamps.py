"""A zygote is stale when a file that it has loaded is another one."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.zygote.stamps import Stamps


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "stamped_module.py"
    path.write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("stamped_module")
    yield path
    del sys.modules["stamped_module"]


def test_nothing_has_changed(loaded: Path) -> None:
    assert Stamps((str(loaded),)).changed() == ""


def test_a_module_is_written_anew(loaded: Path) -> None:
    stamps = Stamps()
    loaded.write_text("value = 2\n")  # of the same length
    assert stamps.changed() == str(loaded)


def test_a_module_is_replaced_by_one_of_the_same_time_and_size(loaded: Path, tmp_path: Path) -> None:
    stamps = Stamps()
    status = loaded.stat()
    other = tmp_path / "other"
    other.write_text("value = 3\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(loaded)
    assert stamps.changed() == str(loaded)


def test_a_module_is_gone(loaded: Path) -> None:
    stamps = Stamps()
    loaded.unlink()
    assert stamps.changed() == str(loaded)
