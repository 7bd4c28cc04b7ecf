"""`selcgi map` from a shell: what it prints where, and its exit code."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.stack import PROGRAM, TREE

INVALID = sorted((TREE / "tests" / "data" / "mappings" / "invalid").glob("*.map"))
OLD = """alice user_webapp_t:s0:c1
@web user_webapp_t:s0:c2
bob *:s0:c3
carol staff_webapp_t s0
"""


def selcgi_map(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    line = [*PROGRAM, "map", *map(str, words)]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ, check=False)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "mod_selinux.map"
    path.write_text(OLD)
    return path


@pytest.mark.parametrize("name", ["unknown-key", "quote-not-closed", "readme-sample-of-mod-selinux"])
def test_check_names_file_line_and_mistake(name: str) -> None:
    path = next(one for one in INVALID if one.stem == name)
    found = re.match(r"# expect: (\d+): (.*)", path.read_text())
    assert found is not None
    done = selcgi_map("check", path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"mistake {path}:{found[1]}: ")
    assert found[2] in done.stdout


def test_check_names_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "site.map"
    path.write_text("alice user_webapp_t timout=3\nbob user_webapp_t\ncarol\n")
    done = selcgi_map("check", path)
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [f"mistake {path}:1", f"mistake {path}:3"]


def test_check_names_a_rule_that_nothing_reaches(tmp_path: Path) -> None:
    path = tmp_path / "site.map"
    path.write_text("* deny\nalice user_webapp_t\n")
    done = selcgi_map("check", path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"dead {path}:2: no request reaches this rule",
        "2 rules, 1 of them dead, no mistakes",
    ]


def test_check_warns_of_accounts_that_are_not_here(tmp_path: Path) -> None:
    """It may be checked on another machine, so that is no mistake. Each is named once, at its first rule."""
    path = tmp_path / "site.map"
    rules = ["alice user_webapp_t uid=no-such-user", "bob user_webapp_t uid=no-such-user", "uid user_webapp_t"]
    path.write_text("\n".join([*rules, "carol user_webapp_t uid=nobody", "dora user_webapp_t uid=sync", ""]))
    done = selcgi_map("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    first, *more = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert first.startswith(f"warning {path}:1: there is no user 'no-such-user' here")
    assert not more


def test_explain_a_file_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "site.map"
    path.write_text("alice user_webapp_t timout=3\n")
    done = selcgi_map("explain", path, "--user", "alice")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{path}:1: " in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_shows_what_the_rule_sets(tmp_path: Path) -> None:
    path = tmp_path / "site.map"
    path.write_text("alice user_webapp_t:s0:c1 timeout=90 warm=wsgi uid=shop sendfile=yes\nbob user_webapp_t\n")
    shown = [selcgi_map("explain", path, "--user", user).stdout.splitlines()[-1] for user in ("alice", "bob")]
    assert shown == [
        "context: user_webapp_t:s0:c1 total_seconds=90 sendfile=yes uid=shop warm=wsgi:application",
        "context: user_webapp_t:*",
    ]


def test_import_writes_a_map_without_mistakes_and_says_what_it_did(old: Path, tmp_path: Path) -> None:
    done = selcgi_map("import", old)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == ["alice user_webapp_t:s0:c1", '"@web" user_webapp_t:s0:c2']
    assert lines[2].startswith("bob deny")
    assert lines[3].startswith("# ")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        f"note {old}:{number}" for number in (2, 3, 4)
    ]
    new = tmp_path / "site.map"
    new.write_text(done.stdout)
    assert selcgi_map("check", new).returncode == 0


def test_import_stops_at_a_name_that_cannot_be_written(old: Path) -> None:
    """To leave the line out would hand that user to the next one that matches."""
    old.write_text("alice user_webapp_t\nbad\u202ename user_webapp_t\n* staff_webapp_t\n")
    done = selcgi_map("import", old)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mistake {old}:2: the user name ")


@pytest.mark.parametrize("command", ["check", "explain", "import"])
def test_a_file_that_is_not_there(tmp_path: Path, command: str) -> None:
    done = selcgi_map(command, tmp_path / "none.map")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("selcgi: ")
    assert "none.map" in line


@pytest.mark.parametrize(
    "text", ["alice\n", "* deny\nalice user_webapp_t\n", "* user_webapp_t\n", "alice user_webapp_t uid=65533\n"]
)
def test_a_path_is_shown_without_what_a_terminal_acts_on(tmp_path: Path, text: str) -> None:
    """A mistake, a dead rule, users that share a context, no such account."""
    folder = tmp_path / "\x1b[2J\u202e\udcff"
    folder.mkdir()
    path = folder / "site.map"
    path.write_text(text)
    done = selcgi_map("check", path)
    assert f"{tmp_path}/?[2J??/site.map:" in done.stdout
    done = selcgi_map("explain", path, "--user", "x\x1b")
    assert "\x1b" not in done.stdout + done.stderr
