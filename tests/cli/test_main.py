"""What ends a command is one sentence, in which no byte of anybody's file names reaches a terminal as it is."""

import sys
from pathlib import Path

import pytest

from selcgi.cli.main import COULD_NOT_RUN, main


def test_a_file_that_a_script_has_named_sets_no_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root reads it: `selcgi categories label` names the file of a user's folder that it can't label."""
    path = tmp_path / "a\x1b]0;title\x07\nselcgi: all is well"
    site = tmp_path / "site.map"
    site.write_text("* user_webapp_t:s0\n")
    monkeypatch.setattr(sys, "argv", ["selcgi", "audit-map", str(site), "--policy", str(path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == COULD_NOT_RUN
    (line,) = capsys.readouterr().err.splitlines()
    assert "/a?]0;title??selcgi: all is well: No such file" in line
