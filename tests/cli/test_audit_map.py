"""`selcgi audit-map` as a user types it: the table, JSON, and what the exit code says."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selcgi.cli.audit_map import _SHOWN, audit_map
from selcgi.errors import PolicyUnreadable
from tests.enforcing import site
from tests.guest import policy

pytestmark = pytest.mark.guest


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    file = tmp_path / "site.map"
    file.write_text(site.rules())
    return file


def run(*words: str | Path, colour: bool = False) -> Result:
    return CliRunner().invoke(audit_map, [str(word) for word in words], color=colour)


def test_table_of_a_mapping_without_findings(mapping: Path) -> None:
    done = run(mapping, "--policy", policy.compiled() / "policy")
    assert done.exit_code == 0, done.output
    assert [" ".join(line.split()) for line in done.output.splitlines()[:3]] == [
        "this may do to 1 2 3 4 selcgi servers policy itself",
        "1 user_webapp_t:s0:c1 = + + + + + + -",
        "2 user_webapp_t:s0:c2 + = + + + + + -",
    ]
    assert done.output.splitlines()[-1] == "4 contexts, no findings"


def test_finding_with_its_rule_and_what_to_do(mapping: Path, tmp_path: Path) -> None:
    planted = policy.planted(policy.compiled() / "policy", "plant_steps", tmp_path / "policy")
    done = run(mapping, "--policy", planted)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    at = next(number for number, line in enumerate(lines) if "-> httpd_t" in line)
    assert lines[at].startswith("finding  user_webapp_t:s0:c1 (site.map:1) -> httpd_t : is entered:")
    assert lines[at].endswith(", and 1 more like it")
    assert lines[at + 1] == "rule     allow user_webapp_t plant_middle_t:process transition; [ plant_steps ]:True"
    assert lines[at + 3].startswith("fix      take the rule out")
    assert lines[-1] == "4 contexts, 2 findings"


def test_users_who_share_files_are_told_of_categories(tmp_path: Path) -> None:
    (tmp_path / "site.map").write_text("alice user_webapp_t:s0:c1\n* user_webapp_t:s0\n")
    done = run(tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert done.exit_code == 1
    assert "fix      give each user of the domain categories of his own: user_webapp_t:s0:c{user}" in done.output


def test_categories_that_selcgi_gives_to_anybody_are_told_by_the_bands(tmp_path: Path) -> None:
    (tmp_path / "site.map").write_text("alice user_webapp_t:s0:c7\n* staff_webapp_t:s0:c{user}\n")
    words = (tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert run(*words).exit_code == 0
    done = run(*words, "--user-categories=c0.c9")
    assert done.exit_code == 1
    row, *_ = [line for line in done.output.splitlines() if line.startswith("finding")]
    assert row == "finding  user_webapp_t:s0:c7 (site.map:1) c7.c7 of s0:c7 can be somebody's own, too"
    assert "fix      use others than those of c{user} and c{request}, or give them other bands" in done.output
    assert done.output.endswith("3 contexts, 1 finding\n")


@pytest.mark.parametrize("rules", ["", "* deny\n"])
def test_a_mapping_that_lets_nobody_in_is_said_to_be_one(tmp_path: Path, rules: str) -> None:
    (tmp_path / "site.map").write_text(rules)
    done = run(tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert (done.exit_code, done.output) == (0, "0 contexts, no findings: the mapping lets nobody in\n")


def test_json_for_programs(mapping: Path, tmp_path: Path) -> None:
    planted = policy.planted(policy.compiled() / "policy", "plant_load", tmp_path / "policy")
    done = run(mapping, "--json", "--policy", planted)
    assert done.exit_code == 1
    report = json.loads(done.output)
    assert [one["context"] for one in report["contexts"]] == list(map(site.context_of, site.CONTEXTS))
    (finding,) = report["findings"]
    assert (finding["kind"], finding["column"], finding["alike"]) == ("direct", "policy", 1)
    assert finding["source"] == "system_u:system_r:anon_webapp_t:s0"
    assert finding["rules"] == ["allow anon_webapp_t security_t:security load_policy; [ plant_load ]:True"]


def test_many_contexts_have_one_column_and_only_rows_with_findings(tmp_path: Path) -> None:
    rules = [f"user{number} user_webapp_t:s0:c{number}\n" for number in range(60)]
    (tmp_path / "site.map").write_text("".join(rules))
    done = run(tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) < 6
    (tmp_path / "site.map").write_text("".join([*rules, "guest user_webapp_t:s0\n"]))
    done = run(tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert done.exit_code == 1
    assert "and 20 more with findings" in done.output


def test_of_many_findings_the_first_are_shown(tmp_path: Path) -> None:
    (tmp_path / "site.map").write_text("* unconfined_t:s0\n")
    done = run(tmp_path / "site.map", "--policy", policy.compiled() / "policy")
    assert done.exit_code == 1
    assert sum(line.startswith("finding") for line in done.output.splitlines()) == _SHOWN
    assert "more findings: --json has all" in done.output


def test_colour_is_for_terminals(mapping: Path) -> None:
    words = (mapping, "--policy", policy.compiled() / "policy")
    assert "\x1b[32m" in run(*words, colour=True).output
    assert "\x1b[" not in run(*words).output


def test_what_cannot_be_read_is_no_finding(mapping: Path, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(b"no policy")
    done = run(mapping, "--policy", tmp_path / "policy")
    assert isinstance(done.exception, PolicyUnreadable), "cli/main.py makes exit code 3 of it"
    assert run("--policy", tmp_path / "policy").exit_code == 2
