"""A zygote is stale when a file that it has loaded is another one."""

import importlib
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.zygote.stamps import Stamps, process_start
from tests.stack import TREE


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "stamped_module.py"
    path.write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("stamped_module")
    yield path
    del sys.modules["stamped_module"]


def test_nothing_has_changed(loaded: Path) -> None:
    assert Stamps(time.time_ns(), (str(loaded),)).changed() == ""


def test_a_module_is_written_anew(loaded: Path) -> None:
    stamps = Stamps(time.time_ns())
    loaded.write_text("value = 2\n")  # of the same length
    assert stamps.changed() == str(loaded)


def test_a_module_is_replaced_by_one_of_the_same_time_and_size(loaded: Path, tmp_path: Path) -> None:
    stamps = Stamps(time.time_ns())
    status = loaded.stat()
    other = tmp_path / "other"
    other.write_text("value = 3\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(loaded)
    assert stamps.changed() == str(loaded)


def test_a_module_is_gone(loaded: Path) -> None:
    stamps = Stamps(time.time_ns())
    loaded.unlink()
    assert stamps.changed() == str(loaded)


def test_a_module_was_replaced_between_its_import_and_this(loaded: Path) -> None:
    os.utime(loaded, ns=(0, 0))  # what was put there may well be older
    since = loaded.stat().st_ctime_ns
    assert Stamps(since).changed() == str(loaded)
    assert Stamps(since + 1).changed() == ""


def test_one_that_is_not_there_comes_later(loaded: Path, tmp_path: Path) -> None:
    """Or again: who replaces a file may take it away first."""
    loaded.rename(tmp_path / "away")
    stamps = Stamps(time.time_ns())
    assert stamps.changed() == ""
    (tmp_path / "away").rename(loaded)
    assert stamps.changed() == str(loaded)


def test_a_module_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "modules.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_module.py", "")
    monkeypatch.syspath_prepend(str(archive))
    importlib.import_module("zipped_module")
    stamps = Stamps(time.time_ns())
    archive.touch()
    assert stamps.changed() == str(archive)
    del sys.modules["zipped_module"]


def test_when_a_process_has_begun() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from selcgi.zygote import stamps; print(stamps.process_start())"
    )
    before = time.time_ns()
    done = subprocess.run([sys.executable, "-c", program, str(TREE)], capture_output=True, check=True, timeout=60)
    assert before - 10**9 < int(done.stdout) < time.time_ns()
    assert process_start() < before
