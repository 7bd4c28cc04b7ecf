"""`selcgi explain` of a script that runs warm: from which interpreter, and every question of its start and its move."""

from pathlib import Path

import pytest

from selcgi.diagnose.explaining import Machine, Told, explain_request
from selcgi.diagnose.scene import Scene
from selcgi.mapping.table import Query
from selcgi.serve.sources import open_sources
from selcgi.settings import Settings, WarmSettings
from tests.diagnose.shipped import label, policy, scene
from tests.fakes import FakePolicy, Rule

ZYGOTE: dict[Rule, tuple[str, ...]] = {
    ("selcgi_t", "selcgi_zygote_exec_t", "file"): ("execute", "read", "open", "getattr"),
    ("selcgi_t", "bin_t", "file"): ("execute", "read", "open", "getattr", "map"),
    ("selcgi_t", "user_zygote_t", "process"): (
        "transition", "siginh", "rlimitinh", "getattr", "signal", "sigkill",
    ),
    ("selcgi_t", "user_zygote_t", "process2"): ("nnp_transition", "nosuid_transition"),
    ("selcgi_t", "user_zygote_t", "dir"): ("search",),
    ("selcgi_t", "user_zygote_t", "file"): ("read", "open"),
    ("user_zygote_t", "selcgi_zygote_exec_t", "file"): ("entrypoint", "read", "open"),
    ("user_zygote_t", "bin_t", "file"): ("read", "execute", "map"),
    ("user_zygote_t", "var_t", "dir"): ("search",),
    ("user_zygote_t", "selcgi_t", "fd"): ("use",),
    ("user_zygote_t", "selcgi_t", "fifo_file"): ("read", "write"),
    ("user_zygote_t", "selcgi_t", "unix_stream_socket"): ("read", "write"),
    ("user_zygote_t", "selcgi_script_exec_t", "file"): ("read",),
    ("user_zygote_t", "user_zygote_t", "process"): ("setcurrent",),
    ("user_zygote_t", "user_webapp_t", "process"): ("dyntransition",),
}  # fmt: skip
MOVE: Rule = ("user_zygote_t", "user_webapp_t", "process")


class Labels:
    def label(self, path: str) -> str:
        return self.expected(path, 0)

    def expected(self, path: str, mode: int) -> str:  # noqa: ARG002
        if path.endswith("selcgi-zygote"):
            return label("selcgi_zygote_exec_t")
        return label("selcgi_script_exec_t" if path.endswith(".py") else "bin_t" if "python" in path else "var_t")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("report.py", "#!/usr/bin/python3\n"), ("selcgi-zygote", "#!/usr/bin/python3 -IS\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def told(folder: Path, rule: str, asked: Scene, warm: WarmSettings | None = None, program: str | None = None) -> Told:
    (folder / "site.map").write_text(f"alice {rule}\n")
    chain = open_sources(Settings(maps=(folder / "site.map",)))
    place = f"{folder}/selcgi-zygote" if program is None else program
    machine = Machine(Labels(), (folder,), "/usr/bin", warm or WarmSettings(), place)
    return explain_request(asked, chain, Query("alice", f"{folder}/report.py", ""), machine)


def warm_policy(without: Rule | None = None) -> FakePolicy:
    return policy(more={rule: names for rule, names in ZYGOTE.items() if rule != without})


def test_every_question_of_the_start_and_of_the_move(folder: Path) -> None:
    found = told(folder, "user_webapp_t:s0:c1 warm=wsgi:app", scene(warm_policy()))
    assert [answer for answer in found.answers if not answer.yes] == []
    assert found.yes
    assert found.warm == "the WSGI application app"
    assert found.zygote == f"system_u:system_r:user_zygote_t:s0, from {folder}/selcgi-zygote"
    asked = [answer.question for answer in found.answers]
    move = asked.index("user_zygote_t -> user_webapp_t : process { dyntransition }")
    assert "selcgi_t -> user_zygote_t : process { transition }" in asked[:move]
    assert "user_webapp_t -> selcgi_t : fifo_file { read write }" in asked[move:]
    assert "selcgi_t -> user_webapp_t : process { transition }" not in asked, "nothing is executed in its domain"


def test_a_glob_says_it_too_and_a_rule_goes_before(folder: Path) -> None:
    globs = WarmSettings(scripts=("*.py",))
    assert told(folder, "user_webapp_t", scene(warm_policy()), globs).warm == "a CGI script"
    cold = told(folder, "user_webapp_t warm=no", scene(policy()), globs)
    assert (cold.warm, cold.zygote) == ("", "")
    assert cold.answers


def test_the_policy_does_not_let_it_move(folder: Path) -> None:
    found = told(folder, "user_webapp_t warm=yes", scene(warm_policy(without=MOVE)))
    (no,) = [answer for answer in found.answers if not answer.yes]
    assert no.question == "user_zygote_t -> user_webapp_t : process { dyntransition }"
    assert no.fix == "setsebool -P selcgi_webapp_warm on"


def test_the_policy_does_not_let_it_start(folder: Path) -> None:
    found = told(folder, "user_webapp_t warm=yes", scene(warm_policy(("selcgi_t", "user_zygote_t", "process2"))))
    assert {answer.why for answer in found.answers if not answer.yes} == {
        "no warm interpreter can start: 503, or a fresh program with --warm-fallback"
    }


def test_only_scripts_of_its_own_python(folder: Path) -> None:
    (folder / "report.py").write_text("#!/bin/sh\n")
    found = told(folder, "user_webapp_t warm=yes", scene(warm_policy()))
    assert found.refused.startswith(
        f"its interpreter is /bin/sh, and {folder}/selcgi-zygote is run by /usr/bin/python3;"
    )
    (folder / "report.py").write_text("#!/usr/bin/env python3\n")
    assert not told(folder, "user_webapp_t warm=yes", scene(warm_policy())).refused


@pytest.mark.parametrize(
    ("rule", "globs", "program", "words"),
    [
        ("user_webapp_t warm=yes", (), "", "selcgi-zygote is not there"),
        ("staff_webapp_t warm=yes", (), None, "the type staff_zygote_t is unknown"),
        ("tmp_t", ("*.py",), None, "the domain tmp_t has no zygote beside it"),
    ],
)
def test_what_ends_it(folder: Path, rule: str, globs: tuple[str, ...], program: str | None, words: str) -> None:
    found = told(folder, rule, scene(warm_policy()), WarmSettings(scripts=globs), program)
    assert words in found.refused
    assert not found.yes
