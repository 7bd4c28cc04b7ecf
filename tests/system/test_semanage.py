"""A label is added to the policy, or changed when it is there; whatever becomes of semanage is a named error."""

from pathlib import Path

import pytest

from selcgi.errors import RegistryFailed
from selcgi.system import semanage
from selcgi.system.semanage import add_or_change


def program(folder: Path, text: str) -> str:
    path = folder / "semanage"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_is_there_is_changed(tmp_path: Path) -> None:
    new = program(tmp_path, "exit 0")
    assert add_or_change((new, "fcontext", "-a", "/x")) == (new, "fcontext", "-a", "/x")
    known = program(tmp_path, '[ "$2" = -m ]')
    assert add_or_change((known, "fcontext", "-a", "/x")) == (known, "fcontext", "-m", "/x")


def test_what_it_says_last_is_told_and_the_command(tmp_path: Path) -> None:
    command = (program(tmp_path, 'echo "no $2" >&2; exit 1'), "fcontext", "-a", "/x y")
    with pytest.raises(RegistryFailed, match="no -m") as raised:
        add_or_change(command)
    assert raised.value.fix.endswith("fcontext -a '/x y'")


def test_without_it(tmp_path: Path) -> None:
    with pytest.raises(RegistryFailed, match="can't be run: No such file"):
        add_or_change((str(tmp_path / "none"), "-a"))


def test_one_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semanage, "_BUILD_SECONDS", 0.2)
    with pytest.raises(RegistryFailed, match="did not end"):
        add_or_change((program(tmp_path, "exec sleep 30"), "-a"))
