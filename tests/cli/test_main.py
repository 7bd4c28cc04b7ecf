"""What ends a command is one sentence, in which no byte of anybody's file names reaches a terminal as it is; and what
--help shows.
"""

import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from selcgi.cli.grouped import OTHERS
from selcgi.cli.main import COULD_NOT_RUN, cli, main
from selcgi.cli.man import every_command


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


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


@pytest.mark.parametrize("name", ["serve", "run", "replay"])
def test_help_has_every_option_under_its_subject(name: str) -> None:
    text = CliRunner().invoke(cli, [name, "--help"], prog_name="selcgi").output
    named, _, others = text.partition(f"\n{OTHERS}:\n")
    for option in options_of(cli.commands[name]):
        assert re.search(rf"^  {option.opts[0]}\b", named, re.MULTILINE), (
            f"{option.name} is of no subject of grouped.py"
        )
    assert others.startswith("  -h, --help  ")


EVERY = dict(every_command("selcgi", cli))


@pytest.mark.parametrize("path", sorted({*EVERY, *(path.rpartition(" ")[0] for path in EVERY)}))
def test_help_fits_a_terminal_and_nothing_in_it_is_cut_short(path: str) -> None:
    words = [*path.split()[1:], "--help"]
    text = CliRunner().invoke(cli, words, prog_name="selcgi", terminal_width=80, color=True).output
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "\x1b" not in text
    assert [line for line in text.partition("\nCommands:\n")[2].splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("path", EVERY)
def test_every_option_has_a_help_text(path: str) -> None:
    assert [one.name for one in options_of(EVERY[path]) if not one.help] == []


def test_foot_of_the_help_tells_of_variables() -> None:
    text = " ".join(CliRunner().invoke(cli, ["serve", "--help"], prog_name="selcgi").output.split())
    assert "--timeout is from SELCGI_SERVE_TIMEOUT; but not --group-file, --listen, --local-redirects, --map," in text
