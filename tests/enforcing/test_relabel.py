"""What a relabel does to the levels of users' files: those of the README's lines stay, and nothing falls open."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt
from tests.enforcing.conftest import Claims
from tests.stack import Selcgi

pytestmark = pytest.mark.enforcing

README = (site.TREE / "README.md").read_text()
RULES = "alice user_webapp_t:s0:c1\nbob user_webapp_t:s0:c2\n* user_webapp_t:s0\n"
ALICES = Path("/srv/data/user/alice")


@pytest.fixture
def selcgi() -> Iterator[Selcgi]:
    rules = site.write(site.MAP.with_name("relabel.map"), RULES)
    with site.serving(f"--map={rules}") as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """Made and labelled word for word as the README says."""
    (block,) = re.findall(r"^```sh\n([^`]*semanage fcontext[^`]*)^```", README, re.MULTILINE)
    site.run("sh", "-ec", block)
    yield ALICES
    shutil.rmtree(ALICES)
    site.run("semanage", "fcontext", "-D")
    site.prepare()


def label(path: Path) -> str:
    return site.run("stat", "-c", "%C", path).strip()


def touch(path: Path) -> tuple[str, ...]:
    """All that a script may want of a file of another: to read it, to change it, and to take it away."""
    return (f"open({str(path)!r})", f"open({str(path)!r}, 'a')", f"os.unlink({str(path)!r})")


def test_a_users_folder_keeps_its_level(selcgi: Selcgi, avcs: Claims, folder: Path) -> None:
    own = folder / "own.txt"
    assert attempt(selcgi, "alice", f"open({str(own)!r}, 'w')") == ["ok"]
    for _ in range(2):
        assert [label(path) for path in (folder, own)] == ["system_u:object_r:user_webapp_rw_t:s0:c1"] * 2
        for other in ("bob", "eve"):
            assert attempt(selcgi, other, *touch(own)) == ["EACCES"] * 3
        assert attempt(selcgi, "alice", f"open({str(own)!r}, 'a')") == ["ok"]
        site.run("restorecon", "-RF", "/srv")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "dir", "search")


def test_a_file_whose_level_no_line_names_is_nobodys_afterwards(selcgi: Selcgi, avcs: Claims) -> None:
    own, before = site.OWN["alice"]
    assert attempt(selcgi, "alice", f"open({str(own)!r})") == ["ok"]
    site.run("restorecon", "-RF", "/srv")
    try:
        assert label(own) == "system_u:object_r:user_webapp_rw_t:s0:c0.c1023"
        for user in ("alice", "bob", "eve"):
            assert attempt(selcgi, user, *touch(own)) == ["EACCES"] * 3
    finally:
        site.chcon(own, before)
        site.prepare()
    for permission in ("read", "append", "unlink"):
        avcs.expect("user_webapp_t", "user_webapp_rw_t", "file", permission)
