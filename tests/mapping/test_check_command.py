"""`selcgi map check`: what it prints and how it ends."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from selcgi.cli.mapping import mapping

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
