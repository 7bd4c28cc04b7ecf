"""The options of warm interpreters: what they become in the settings, and which mistakes are told at once."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from selcgi.cli import run
from selcgi.cli.main import cli
from selcgi.settings import Settings, WarmSettings

MISTAKES = [
    ("--warm=report.py", "matches no script; write an absolute path"),
    ("--warm=/srv/cgi/../*", "matches no script; write an absolute path"),
    ("--warm=/srv/cgi/[z-a]", "range that runs backwards; write a-z"),
    ("--preload=shop.py-x", "is no module's name; write it as import does"),
    ("--preload=shop.class", "is no module's name; write it as import does"),
    ("--preload=", "is no module's name; write it as import does"),
    ("--warm-zygotes=0", "is not in the range 1<=x<=256"),
    ("--warm-zygotes=257", "is not in the range 1<=x<=256"),
    ("--warm-requests=-1", "is not in the range x>=0"),
    ("--warm-idle=0", "is no time of up to 24 hours"),
]


def called(*words: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["run", *words, "report.py"], env=environ)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each `selcgi run`, which goes no further."""
    found: list[Settings] = []

    def take(settings: Settings, *_: Any) -> None:
        found.append(settings)

    monkeypatch.setattr(run, "respond", take)
    return found


@pytest.mark.parametrize(("word", "words"), MISTAKES)
def test_mistake_is_told_at_once(word: str, words: str) -> None:
    done = called(word)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "script=" not in done.stderr


def test_all_options(made: list[Settings]) -> None:
    words = "--warm=/srv/cgi/*.py --warm=*/app --preload=json --preload=django.db --warm-fallback --warm-zygotes=7"
    assert called(*words.split(), "--warm-requests=0", "--warm-idle=5m").exit_code == 0
    assert made[0].warm == WarmSettings(("/srv/cgi/*.py", "*/app"), ("json", "django.db"), True, 7, 0, 300.0)


def test_nothing_said(made: list[Settings]) -> None:
    assert called().exit_code == 0
    assert made[0].warm == WarmSettings()


def test_from_the_environment(made: list[Settings]) -> None:
    environ = {"PRELOAD": "json django.db", "WARM": "/srv/a/* /srv/b/*", "WARM_FALLBACK": "1", "WARM_REQUESTS": "12"}
    assert called(environ={f"SELCGI_RUN_{name}": value for name, value in environ.items()}).exit_code == 0
    assert made[0].warm == WarmSettings(("/srv/a/*", "/srv/b/*"), ("json", "django.db"), fallback=True, requests=12)
    assert called(environ={"SELCGI_RUN_WARM": "report.py"}).exit_code == 2
