"""`selcgi explain`: every question has an answer, and it ends where the request would."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.diagnose.explaining import Answer, Machine, Told, explain_request
from selcgi.diagnose.scene import Scene
from selcgi.diagnose.survey import PATHS_MOST, Survey
from selcgi.mapping.table import Query
from selcgi.plan import Account
from selcgi.serve.sources import open_sources
from selcgi.settings import MapParam, Settings
from selcgi.system.preflight import Step
from tests.diagnose.shipped import label, policy, scene

MAP = "alice user_webapp_t:s0:c1\nbob deny\ncarol no_such_t:s0\n"


class Labels:
    """Every script is one, the rest is of the system; two names are not as their place says."""

    def label(self, path: str) -> str:
        return label("var_t") if "odd" in path else self.expected(path, 0)

    def expected(self, path: str, mode: int) -> str:  # noqa: ARG002
        if path.endswith(".cgi"):
            return label("selcgi_script_exec_t")
        return label("shell_exec_t" if path == "/bin/sh" else "bin_t" if path.startswith("/usr/bin") else "var_t")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.map").write_text(MAP)
    return tmp_path


def script(folder: Path, name: str, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def told(folder: Path, user: str, path: Path, asked: Scene | None = None) -> Told:
    chain = open_sources(Settings(maps=(folder / "site.map",)))
    return explain_request(
        asked or scene(), chain, Query(user, str(path), ""), Machine(Labels(), (folder,), "/usr/bin")
    )


def test_every_question_is_answered_in_order(folder: Path) -> None:
    found = told(folder, "alice", script(folder, "a.cgi"))
    assert found.yes
    assert (found.rule, found.context) == ("site.map:1", "system_u:system_r:user_webapp_t:s0:c1")
    assert found.interpreter == "/bin/sh (system_u:object_r:shell_exec_t:s0)"
    asked = list(dict.fromkeys(answer.step for answer in found.answers))
    assert asked == ["script", *(step for step in Step if step not in (Step.NOSUID, Step.PROGRAM))]


def test_a_no_stands_beside_its_yes_with_symptom_and_fix(folder: Path) -> None:
    lacking = policy(without=[(("selcgi_t", "user_webapp_t", "process"), "sigkill")])
    found = told(folder, "alice", script(folder, "a.cgi"), scene(lacking))
    assert not found.yes
    (no,) = [answer for answer in found.answers if not answer.yes]
    assert no.question == "selcgi_t -> user_webapp_t : process { sigkill }"
    assert "(allow selcgi_t user_webapp_t (process (sigkill)))" in no.fix
    assert no.why
    yes = [answer.question for answer in found.answers if answer.yes and answer.step == Step.WATCH]
    assert yes[0] == "selcgi_t -> user_webapp_t : process { getattr signal }"


@pytest.mark.parametrize(
    ("user", "words"),
    [("bob", "says deny"), ("dora", "no rule matches"), ("carol", "the type no_such_t is unknown")],
)
def test_what_the_mapping_or_the_policy_refuses_ends_it(folder: Path, user: str, words: str) -> None:
    found = told(folder, user, script(folder, "a.cgi"))
    assert words in found.refused
    assert not found.yes
    assert found.answers == ()


def test_a_context_that_is_told_for_nobody_is_refused_as_a_request_would_be(folder: Path) -> None:
    chain = open_sources(Settings(maps=(MapParam("DOMAIN"), folder / "site.map"), param_domains=("user_webapp_t",)))
    machine = Machine(Labels(), (folder,), "/usr/bin")
    query = Query(None, str(script(folder, "a.cgi")), "", (("DOMAIN", "user_webapp_t:s0:c3"),))
    found = explain_request(scene(), chain, query, machine)
    assert (found.yes, found.context) == (False, "")
    assert found.refused.startswith("DOMAIN, which chooses the context, came without a user")
    assert explain_request(scene(), chain, query._replace(user="dora"), machine).context.endswith(":s0:c3")


@pytest.mark.parametrize(("account", "why"), [("nobody", ""), ("no-one", "500: there is no user 'no-one' here")])
def test_an_account_of_the_rule_is_asked_about(folder: Path, account: str, why: str) -> None:
    (folder / "site.map").write_text(f"alice user_webapp_t:s0:c1 uid={account}\n")
    found = told(folder, "alice", script(folder, "a.cgi"))
    (answer,) = [one for one in found.answers if one.step == "account"]
    assert (answer.question, answer.why, answer.yes) == (account, why, not why)
    assert found.yes is not bool(why)


def no(found: Told) -> Answer:
    """The one no, of the script itself."""
    (only,) = [answer for answer in found.answers if not answer.yes]
    assert not found.yes
    assert (found.refused, only.step, found.answers[0]) == ("", "script", only)
    return only


@pytest.mark.parametrize(
    ("mode", "why", "fix"),
    [
        (0o777, "403: {0} (mode 0777, uid 0) is open to more than its owner", "chmod go-w {0}"),
        (0o644, "403: selcgi may not execute {0} (mode 0644, label ", "chmod a+x {0}"),
    ],
)
def test_a_script_that_a_request_may_not_run_is_a_no_and_the_policy_is_asked_all_the_same(
    folder: Path, mode: int, why: str, fix: str
) -> None:
    path = script(folder, "a.cgi", mode=mode)
    found = told(folder, "alice", path)
    assert no(found).why.startswith(why.format(path))
    assert no(found).fix == fix.format(path)
    assert "user_webapp_t -> selcgi_script_exec_t : file { entrypoint } " in " ".join(
        one.question for one in found.answers
    )


def test_a_script_that_is_not_there_is_a_no_and_its_context_is_asked_about(folder: Path) -> None:
    found = told(folder, "alice", folder / "none.cgi")
    assert no(found).why.startswith("404: ")
    assert "selcgi_t -> user_webapp_t : process { transition }" in [one.question for one in found.answers]


def test_a_link_beneath_the_root_is_the_script_that_it_leads_to(folder: Path) -> None:
    """As for a request: that one's path is what the mapping is asked about."""
    path = script(folder, "a.cgi")
    (folder / "site.map").write_text("alice staff_webapp_t script=*/link.cgi\nalice user_webapp_t script=*/a.cgi\n")
    (folder / "link.cgi").symlink_to("a.cgi")
    found = told(folder, "alice", folder / "link.cgi")
    assert found.yes
    assert (found.script, found.rule) == (str(path), "site.map:2")
    assert found.answers[0].question == f"{folder}/link.cgi -> {path}"


def test_no_script_is_looked_for_outside_the_roots(folder: Path) -> None:
    (folder / "link.cgi").symlink_to("/bin/true")
    assert "is a link to /bin/true, beneath no root" in no(told(folder, "alice", folder / "link.cgi")).why
    assert told(folder, "alice", Path("/bin/true")).answers[0].fix == "add --root if scripts there may run"


SERVICE = Account("www", 61234, 61234, (61234,), "/")


@pytest.mark.parametrize(
    ("mode", "owner", "why", "fix"),
    [
        (0o755, 0, "", ""),
        (0o755, SERVICE.uid, "", ""),
        (0o700, SERVICE.uid, "", ""),
        (0o700, 0, "403: the Unix user www may not execute {0} (mode 0700)", "chmod a+x {0}"),
        (0o711, 0, "403: the Unix user www may not read {0} (mode 0711)", "chmod a+r {0}"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_owners_and_modes_are_judged_for_the_service(mode: int, owner: int, why: str, fix: str) -> None:
    """Root may do all of it, and owns nothing of the service's user."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "site.map").write_text(MAP)
        path = script(folder, "a.cgi", mode=mode)
        os.chown(path, owner, owner)
        chain = open_sources(Settings(maps=(folder / "site.map",)))
        machine = Machine(Labels(), (folder,), "/usr/bin", account=SERVICE)
        found = explain_request(scene(), chain, Query("alice", str(path), ""), machine)
    assert found.service.startswith("www: ")
    answer = found.answers[0]
    assert (answer.why, answer.fix, found.yes) == (why.format(path), fix.format(path), not why)


def test_a_script_that_is_looked_for_leaves_nothing_open(folder: Path) -> None:
    path = script(folder, "a.cgi")
    before = len(os.listdir("/proc/self/fd"))
    told(folder, "alice", path)
    told(folder, "alice", folder / "none.cgi")
    assert len(os.listdir("/proc/self/fd")) == before


def test_scripts_are_grouped_by_what_a_question_depends_on(folder: Path) -> None:
    for number in range(PATHS_MOST + 3):
        script(folder, f"s{number:02}.cgi")
    script(folder, "odd.cgi")
    script(folder, "other.cgi", "#!/usr/bin/env perl\n")
    script(folder, "text.cgi", mode=0o644)
    (folder / "link.cgi").symlink_to("s00.cgi")
    groups = Survey(Labels(), "/usr/bin").scripts([str(folder)])
    assert sorted(one.count for one in groups) == [1, 1, PATHS_MOST + 3]
    many = max(groups, key=lambda one: one.count)
    assert len(many.paths) == PATHS_MOST
    assert [one.path for one in many.folders][:2] == ["/", f"/{folder.parts[1]}"]
    other = next(one for one in groups if one.program)
    assert other.program is not None
    assert other.program.path == "/usr/bin/perl"
    assert next(one for one in groups if one.label == label("var_t")).expected == label("selcgi_script_exec_t")


def test_how_many_files_are_looked_at_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        script(folder, f"s{number}.cgi")
    monkeypatch.setattr("selcgi.diagnose.survey.FILES_MOST", 3)
    survey = Survey(Labels(), "/usr/bin")
    assert sum(one.count for one in survey.scripts([str(folder)])) == survey.seen == 3


def test_a_root_that_is_no_folder_is_said(folder: Path) -> None:
    file = script(folder, "a.cgi")
    survey = Survey(Labels(), "/usr/bin")
    assert survey.scripts([str(folder / "none"), str(file)]) == ()
    assert survey.shut == {str(folder / "none"): "No such file or directory", str(file): "Not a directory"}


def test_a_script_that_cannot_be_read_is_not_taken_for_a_binary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(folder, "a.cgi")
    monkeypatch.setattr("selcgi.diagnose.survey._head", lambda _: None)
    one = Survey(Labels(), "/usr/bin").script(str(path))
    assert one is not None
    assert not one.readable
    assert replace(one, readable=True) != one
