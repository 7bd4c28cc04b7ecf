"""`selcgi map check`: what it prints and how it ends."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from selcgi.cli.mapping import mapping
from selcgi.errors import StartRefused
from selcgi.serve.sources import open_sources
from selcgi.settings import Settings

OWN = "* user_webapp_t:s0:c{user}\n"


@pytest.mark.parametrize(
    ("text", "code", "first"),
    [
        ("alice user_webapp_t:s0:c1\n", 0, "1 rules, 0 of them dead, no mistakes"),
        ("# interns\nintern-* staff_webapp_t:*\n", 0, "warning {file}:2: the users of intern-* share staff_webapp_t:*"),
        ("* deny\n* user_webapp_t:s0:c1\n", 1, "dead {file}:2: no request reaches this rule"),
        ("* user_webapp_t:s0-s0:c{user}\n", 0, "warning {file}:1: files that its scripts make do not carry c{{user}}"),
        ("* user_webapp_t:s0:c{user}\n", 0, "1 rules, 0 of them dead, no mistakes"),
        (f"bob user_webapp_t:s0:c3,c512\n{OWN}", 0, "warning {file}:1: c512.c512 of s0:c3,c512 can be somebody's own"),
        (f"bob user_webapp_t:s0:c488\n{OWN}", 0, "warning {file}:1: c488.c488 of s0:c488 can be somebody's own"),
        (f"root user_webapp_t:s0-s0:c0.c1023\n{OWN}", 0, "2 rules, 0 of them dead"),
        ("bob user_webapp_t:s0:c3,c512\n", 0, "1 rules, 0 of them dead"),
        ("alice user_webapp_t timout=1\n* user_webapp_t\n", 1, "mistake {file}:1: "),
    ],
)
def test_map_check(tmp_path: Path, text: str, code: int, first: str) -> None:
    file = tmp_path / "site.map"
    file.write_text(text)
    result = CliRunner().invoke(mapping, ["check", str(file)])
    assert result.exit_code == code
    assert result.output.startswith(first.format(file=file)), result.output


def test_more_groups_than_the_system_is_asked_for_are_told_of_as_the_start_refuses_them(tmp_path: Path) -> None:
    file, groups = tmp_path / "site.map", tmp_path / "groups"
    file.write_text("".join(f"@group{number} user_webapp_t:s0:c{number}\n" for number in range(65)))
    groups.write_text("group64: alice\n")
    with pytest.raises(StartRefused, match="more than 64 groups"):
        open_sources(Settings(maps=(file,)))
    result = CliRunner().invoke(mapping, ["check", str(file)])
    *told, _ = [line for line in result.output.splitlines() if "share" not in line]
    reason = "the mapping names more than 64 groups that are in no --group-file, and selcgi does not start"
    assert (result.exit_code, len(told)) == (0, 1), result.output
    assert told[0].startswith(f"warning {file}: {reason}: put some of them in one")
    assert open_sources(Settings(maps=(file,), group_files=(groups,))).asked.of_system
    result = CliRunner().invoke(mapping, ["check", str(file), "--group-file", str(groups)])
    assert "does not start" not in result.output
