"""`selcgi policy new`, the commands that it prints, and the application runs: it gets what was asked for, no more."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import SOURCE
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import BY_PYTHON, doctor
from tests.stack import Ask, Selcgi, ask

pytestmark = pytest.mark.enforcing

PLACE = Path("/srv/wiki")
SCRIPT = PLACE / "cgi" / "wiki.cgi"
PYTHON = site.PROGRAM.parent / "python"
WORDS = (
    *("--script", SCRIPT, "--writes", PLACE / "pages", "--reads", PLACE / "read.d"),
    *("--connects", "389", "--connects", "8321", "--database"),
)


def printed(words: list[str]) -> str:
    """What `selcgi policy new` says, run in the domain of the caller."""
    (PLACE / "work").mkdir(exist_ok=True)
    environ = {"PYTHONPATH": str(site.TREE), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    line = [str(PYTHON), "-m", "selcgi", "policy", "new", "wiki", *words]
    return site.run(*line, cwd=PLACE / "work", env=environ)


@pytest.fixture(scope="module", autouse=True)
def said() -> str:
    """Files first, then the module and its commands, as an administrator would."""
    for name in ("pages/one", "read.d/style", "other/secret"):
        site.write(PLACE / name, "text\n", 0o666).parent.chmod(0o777)
    site.write(SCRIPT, SOURCE, 0o755)
    text = printed([str(word) for word in WORDS])
    commands = re.findall(r"^ {4}((?:semodule|restorecon) .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    site.run("sh", "-ec", "\n".join(commands), cwd=PLACE / "work")
    return text


def test_doctor_finds_nothing_wrong_with_it_beside_other_applications(said: str) -> None:
    (rule,) = re.findall(r"^ {4}USER( .*)$", said, re.MULTILINE)
    (words,) = re.findall(r"^ {4}selcgi doctor (.*)$", said, re.MULTILINE)
    site.script("kept.cgi", "#!/bin/sh\n")
    rules = site.write(site.MAP.with_name("both.map"), f"dora {rule}\n{site.rules()}")
    found = doctor(f"--map={rules}", *words.split(), program=BY_PYTHON)
    assert found.checks == [], found.faults
    assert "entrypoint" in {one["check"] for one in found.notes}, "the domains of others can't run it, as it shall be"
    assert found.looked_at["contexts"] == 5


@pytest.fixture
def serving(said: str) -> Iterator[Selcgi]:
    (rule,) = re.findall(r"^ {4}USER( .*)$", said, re.MULTILINE)
    (root,) = re.findall(r"^for selcgi: (--root=\S+)$", said, re.MULTILINE)
    rules = site.write(site.MAP.with_name("wiki.map"), f"alice {rule}\n")
    with site.serving(f"--map={rules}", root) as running:
        yield running


def tried(selcgi: Selcgi, *expressions: str) -> list[str]:
    answer = ask(selcgi.socket, Ask(str(SCRIPT), "alice", body="\n".join(expressions).encode()))
    assert answer.status == 200, answer.text + selcgi.log()
    return answer.text.split()


def connect(port: int) -> str:
    return f"socket.create_connection(('127.0.0.1', {port}))"


def test_it_does_what_was_asked_for(serving: Selcgi, said: str) -> None:
    assert "port 389 has the type ldap_port_t" in said
    assert "port 8321 gets the type wiki.port_t" in said
    with socket.create_server(("127.0.0.1", 8321)):
        ended = tried(
            serving,
            f"open('{PLACE}/pages/one', 'a')",
            f"open('{PLACE}/pages/new', 'x')",
            f"open('{PLACE}/read.d/style')",
            connect(8321),
            connect(389),
            connect(5432),
        )
    assert ended == ["ok", "ok", "ok", "ok", "ECONNREFUSED", "ECONNREFUSED"]
    assert serving.entry()["context"] == "system_u:system_r:wiki.webapp_t:s0"


def test_it_is_refused_everything_else(serving: Selcgi, avcs: Claims) -> None:
    own = str(site.OWN["dora"][0])
    ended = tried(
        serving, f"open('{PLACE}/read.d/style', 'a')", f"open({own!r})", f"open('{PLACE}/other/secret')", connect(25)
    )
    assert ended == ["EACCES"] * 4
    avcs.expect("wiki.webapp_t", "wiki.content_t", "file", "append")
    avcs.expect("wiki.webapp_t", "staff_webapp_rw_t", "file", "read")
    avcs.expect("wiki.webapp_t", "var_t", "file", "read")
    avcs.expect("wiki.webapp_t", "smtp_port_t", "tcp_socket", "name_connect")


def test_the_name_of_a_module_of_the_distribution_is_refused(avcs: Claims) -> None:
    with pytest.raises(AssertionError, match="'apache' is a module of the distribution"):
        site.run(PYTHON, "-m", "selcgi", "policy", "new", "apache", env={"PYTHONPATH": str(site.TREE)}, cwd="/run")
    assert avcs.unclaimed == []


def test_in_selcgis_own_domain_it_says_where_to_run_it(avcs: Claims) -> None:
    environ = {"PYTHONPYCACHEPREFIX": site.BYTECODE, "PYTHONDONTWRITEBYTECODE": "1"}
    with pytest.raises(AssertionError, match=r"run it in your own domain: .*python -m selcgi policy new"):
        site.run(site.PROGRAM, "policy", "new", "blog", cwd=PLACE / "work", env=environ)
    avcs.expect("selcgi_t", "var_t", "dir", "write")
    avcs.expect("selcgi_t", "semanage_store_t", "dir", "read")  # whether the name is taken can't be seen either
