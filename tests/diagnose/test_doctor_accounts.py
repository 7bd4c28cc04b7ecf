"""Accounts that rules name by uid=: looked up where the scripts will run, as many as a directory may be asked for."""

from pathlib import Path
from typing import Any

import pytest

from selcgi.diagnose.contexts import complete, runs_as
from selcgi.diagnose.fault import Fault
from selcgi.diagnose.staging import Subject, stage
from selcgi.serve.sources import open_sources
from selcgi.settings import Settings
from selcgi.system.filecontexts import NoContexts
from tests.diagnose.shipped import policy

RULES = "alice user_webapp_t uid=nobody\nbob user_webapp_t uid=no-such\ncarol user_webapp_t uid=neither\n"


def found(folder: Path, **more: Any) -> list[Fault]:
    (folder / "site.map").write_text(RULES)
    settings = Settings(maps=(folder / "site.map",))
    chain = open_sources(settings)
    subject = Subject(settings, chain.specs(), "", "", accounts=chain.accounts(), **more)
    scene = stage(policy(), NoContexts(), subject, lambda *_: None)
    return [*runs_as.work(scene), *complete.work(scene)]


def test_an_account_that_is_not_there_is_found_at_its_rule(tmp_path: Path) -> None:
    faults = found(tmp_path)
    assert [(one.check, one.severity, one.where) for one in faults] == [
        ("account", "fatal", ("site.map:2",)),
        ("account", "fatal", ("site.map:3",)),
    ]
    assert "there is no user 'no-such' here" in faults[0].what


def test_accounts_of_another_machine_are_said_not_to_have_been_looked_up(tmp_path: Path) -> None:
    faults = found(tmp_path, elsewhere=True)
    assert {one.check for one in faults} == {"not-looked-at"}
    assert any("the accounts of uid=" in one.what for one in faults)


def test_how_many_are_looked_up_is_bounded_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("diagnose.staging", "system.accounts"):
        monkeypatch.setattr(f"selcgi.{module}.ACCOUNTS_MOST", 2)
    wrong, left = found(tmp_path)
    assert wrong.where == ("site.map:2",)
    assert "more than 2 accounts" in left.what
