"""`selcgi learn` without its runs: what it asks the mapping, what it says of a lesson, and its exit codes."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selcgi.cli import learn
from selcgi.cli.main import cli
from selcgi.errors import StartRefused
from selcgi.learn.lesson import Lesson, Refused
from selcgi.learn.rehearsal import Application
from selcgi.policy.learned import Rule
from selcgi.policy.twin import Domain
from selcgi.system.refusals import SILENT

OK, FAILED = ("Status: 200 OK",), ("Status: 500",)
NOTHING = Lesson((), (), OK, OK, Refused(), False)


class Played:
    """What the two runs would teach; what they were asked for is in `apps`."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.lesson = NOTHING
        self.apps: list[Application] = []
        self.map = folder / "site.map"
        self.map.write_text("alice shop.webapp_t:s0 host=shop.example\nalice user_webapp_t:s0:c1\n")
        patch.setattr(learn, "rehearse", self.rehearse)
        patch.setattr(learn, "read_domain", lambda name: Domain(name, (), (), ()))
        patch.setattr(learn, "open_policy", lambda: None)
        patch.setattr(learn, "_program", lambda: "/opt/selcgi/bin/selcgi")

    def rehearse(self, app: Application, *_: Any) -> Lesson:
        self.apps.append(app)
        return self.lesson

    def learn(self, *words: str, lesson: Lesson = NOTHING) -> Result:
        self.lesson = lesson
        maps = words if any(word.startswith("--map") for word in words) else (*words, f"--map={self.map}")
        return CliRunner().invoke(cli, ["learn", "--user=alice", *maps, "/srv/cgi/x.py"])


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    return Played(monkeypatch, tmp_path)


def test_the_rule_of_a_virtual_host_is_its_own(played: Played) -> None:
    for words, domain, header in (
        (["--host=shop.example"], "shop.webapp_t", ["--header=Host: shop.example"]),
        ([], "user_webapp_t", []),
    ):
        assert played.learn(*words).exit_code == 0
        app = played.apps.pop()
        assert app.spec.domain == domain
        assert [word for word in app.words if word.startswith("--header")] == header


def test_a_parameter_of_the_web_server_chooses_the_domain(played: Played) -> None:
    maps = ("--map=param:SELINUX_CONTEXT", "--param-domain=staff_webapp_t")
    result = played.learn(*maps, "--param=SELINUX_CONTEXT=staff_webapp_t:s0")
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert played.apps[0].spec.domain == "staff_webapp_t"


@pytest.mark.parametrize(
    ("lesson", "code", "said"),
    [
        (NOTHING, 0, "proven: with this block nothing is missing\n"),
        (Lesson((), (), OK, OK, Refused(unallowed=("a",), withheld=("b",)), False), learn.REFUSED_AGAIN, "  a\n  b\n"),
        (Lesson((), (), OK, OK, Refused(missing=("it still wanted",)), False), 1, "missing: it still wanted\n"),
        (
            Lesson((), (), OK, OK, Refused(), False, ("/srv/x: Status: 404",)),
            1,
            "fails: /srv/x: Status: 404\nnot proven: ",
        ),
        (Lesson((), (), OK, FAILED, Refused(), False), 1, f"missing: {SILENT}\nnot proven\n"),
    ],
)
def test_the_exit_code_says_what_was_proven(played: Played, lesson: Lesson, code: int, said: str) -> None:
    result = played.learn(lesson=lesson)
    assert result.exit_code == code
    assert said in result.output


def test_a_program_that_may_not_be_started_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (tmp_path / "selcgi").write_text("")  # of mode 644: not even root may execute it
    with pytest.raises(StartRefused, match=f"as root, in your own domain: {tmp_path}/python -m selcgi learn"):
        learn._program()


def test_a_switch_of_the_policy_is_named_beside_its_rules(played: Played) -> None:
    homes = [Rule(one, "dir", ("search",), "go through x", "") for one in ("home_root_t", "user_home_dir_t")]
    result = played.learn(lesson=Lesson(tuple(homes), (), OK, OK, Refused(), False))
    assert "instead of 2 of these rules: setsebool -P selcgi_webapp_read_home on\n" in result.output
