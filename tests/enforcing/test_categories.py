"""Users by c{user}, requests by c{request}: what the kernel keeps apart, and what of one's own stays within reach."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.test_levels import victim
from tests.stack import Answer, Selcgi, wait_until

pytestmark = pytest.mark.enforcing

STATE = Path("/var/lib/selcgi")
REGISTRY = STATE / "categories"
PLACE = site.DATA / "user"
OWN = "* user_webapp_t:s0:c{user}\n"
BOTH = "* user_webapp_t:s0:c{user}-s0:c{user},c{request}\n"
CONTEXT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
cat /proc/self/attr/current
"""


@pytest.fixture
def new_files() -> Iterator[Path]:
    """Where scripts of all users make files, which are gone afterwards."""
    folder = PLACE / "new"
    folder.mkdir()
    folder.chmod(0o777)
    site.chcon(folder, "user_webapp_rw_t:s0")
    yield folder
    shutil.rmtree(folder)


@contextmanager
def serving(rules: str, *options: str) -> Iterator[Selcgi]:
    """With a registry that has nobody in it at first."""
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o750)
    shutil.chown(STATE, "selcgi", "selcgi")
    site.run("restorecon", "-RF", STATE)
    path = site.write(site.MAP.with_name("categories.map"), rules)
    with site.serving(f"--map={path}", *options) as selcgi:
        yield selcgi


def level(path: Path) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).decode().strip("\0").split(":", 3)[3]


def reach(pid: int) -> tuple[str, ...]:
    """Attempts at a running request of another; all but the last are allowed at an equal level."""
    return (
        f"open('/proc/{pid}/environ').read()",
        f"open('/proc/{pid}/cmdline').read()",
        f"os.stat('/proc/{pid}/fd')",
        f"os.kill({pid}, 0)",
        f"os.kill({pid}, signal.SIGCONT)",
        f"os.sched_getaffinity({pid})",
        "connect('\\0victim-stream')",
        f"open('/proc/{pid}/mem')",
    )


def expect_refusals(avcs: Claims) -> None:
    for permission in ("signull", "signal", "getsched"):
        avcs.expect("user_webapp_t", "user_webapp_t", "process", permission)
    avcs.expect("user_webapp_t", "user_webapp_t", "dir", "search")
    avcs.expect("user_webapp_t", "user_webapp_t", "unix_stream_socket", "connectto")


@pytest.mark.parametrize("rules", [OWN, BOTH], ids=["user", "user-and-request"])
def test_users_reach_neither_the_files_nor_the_requests_of_others(avcs: Claims, rules: str, new_files: Path) -> None:
    answers: list[Answer] = []
    own, made = str(new_files / "alice"), str(new_files / "folder")
    with serving(rules) as selcgi:
        assert attempt(selcgi, "alice", f"Path({own!r}).write_text('private')", f"os.mkdir({made!r})") == ["ok", "ok"]
        with victim(selcgi, "alice", answers) as pid:
            tried = attempt(
                selcgi, "bob", f"open({own!r})", f"open({own!r}, 'a')", f"os.listdir({made!r})", *reach(pid)
            )
            again = attempt(selcgi, "alice", f"open({own!r}).read()", f"open({own!r}, 'a')", f"os.mkdir('{made}/x')")
    assert tried == ["EACCES"] * 11
    assert again == ["ok"] * 3
    assert answers[0].text == "got password=secret\n"
    assert {level(path) for path in new_files.rglob("*")} == {"s0:c512,c513"}
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "file", "read")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "file", "append")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "dir", "read")
    expect_refusals(avcs)


def test_two_requests_of_one_user_are_apart_and_share_his_files(avcs: Claims, new_files: Path) -> None:
    answers: list[Answer] = []
    own = str(new_files / "alice")
    with serving(BOTH) as selcgi:
        assert attempt(selcgi, "alice", f"Path({own!r}).write_text('mine')") == ["ok"]
        with victim(selcgi, "alice", answers) as pid:
            tried = attempt(selcgi, "alice", *reach(pid))
            data = attempt(
                selcgi,
                "alice",
                f"open({own!r}).read()",
                f"open({own!r}, 'a').write('more')",
                f"os.rename({own!r}, {own + '2'!r})",
                "subprocess.run(['/bin/sh', '-c', 'echo piped | cat > /dev/null'], check=True)",
                "socket.socketpair()",
                "open('/proc/self/environ').read()",
                f"os.unlink({own + '2'!r})",
            )
    assert tried == ["EACCES"] * 8
    assert data == ["ok"] * 7
    assert answers[0].text == "got password=secret\n"
    expect_refusals(avcs)


def test_two_requests_of_one_user_without_it_are_not(avcs: Claims) -> None:
    """So what the test above saw was the doing of c{request}. Memory is not to be read in any case."""
    answers: list[Answer] = []
    with serving(OWN) as selcgi, victim(selcgi, "alice", answers) as pid:
        assert attempt(selcgi, "alice", *reach(pid)) == ["ok"] * 7 + ["EACCES"]
    avcs.expect("user_webapp_t", "user_webapp_t", "process", "ptrace")


def test_the_log_has_the_context_as_the_kernel_says_it() -> None:
    """Its records are joined to requests by that. c511.c513 is how it writes what follows one another."""
    path = site.script("context.cgi", CONTEXT)
    with serving(BOTH, "--request-categories=c510.c511") as selcgi:
        answer = run_as(selcgi, path, "alice")
        assert selcgi.entry()["context"] == answer.text.strip("\0\n")
    assert answer.text.strip("\0\n").endswith(":s0:c512,c513-s0:c510.c513")


def test_a_killed_workers_loan_is_lent_again() -> None:
    answers: list[Answer] = []
    with serving(BOTH, "--request-categories=c0.c1", "--workers=1") as selcgi:
        with victim(selcgi, "alice", answers) as pid:
            os.kill(selcgi.workers()[0], signal.SIGKILL)
            wait_until("the end of its script", lambda: not Path(f"/proc/{pid}").exists())
        wait_until("another worker", lambda: len(selcgi.workers()) == 1)
        assert attempt(selcgi, "alice", "os.getpid()") == ["ok"]
    assert not answers[0].complete


def test_scripts_do_not_learn_who_has_which(avcs: Claims) -> None:
    """They run as the Unix user that the registry belongs to."""
    with serving(OWN) as selcgi:
        tried = attempt(selcgi, "alice", f"open('{REGISTRY}')", f"open('{REGISTRY}', 'a')", f"os.listdir('{STATE}')",
                        f"open('{STATE}/.gitconfig')")  # fmt: skip
    assert tried == ["EACCES", "EACCES", "EACCES", "ENOENT"]
    for classname, permission in (("file", "read"), ("file", "append"), ("dir", "read")):
        avcs.expect("user_webapp_t", "selcgi_state_t", classname, permission)


def command(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """`selcgi categories` as an administrator runs it: outside selcgi's domain."""
    line = [str(site.PROGRAM.with_name("python")), "-m", "selcgi", "categories", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.fixture
def alices(new_files: Path) -> Path:
    """A folder of alice's, with files that root has put there."""
    folder = new_files / "alice"
    (folder / "in").mkdir(parents=True)
    for path in (folder, folder / "in", site.write(folder / "in" / "file", "text", 0o666)):
        path.chmod(0o777)
        site.chcon(path, "user_webapp_rw_t:s0")
    return folder


def test_a_labelled_folder_is_its_users_and_check_finds_what_lost_it(avcs: Claims, alices: Path) -> None:
    with serving(OWN) as selcgi:
        assert attempt(selcgi, "bob", f"open('{alices}/in/file')") == ["ok"]
        done = command("label", "alice", alices)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("alice: s0:c512,c514, 3 labels changed beneath")
        assert attempt(selcgi, "bob", f"open('{alices}/in/file')", f"os.listdir('{alices}')") == ["EACCES"] * 2
        assert attempt(selcgi, "alice", f"open('{alices}/in/file', 'a')", f"open('{alices}/new', 'w')") == ["ok"] * 2
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "dir", "search")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "dir", "read")
    done = command("check", site.DATA)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            f"{alices}: gets s0:c0.c1023 by the next relabel, not at s0:c512,c514 of alice",
            f"do {site.PROGRAM.parent}/python -m selcgi categories label --permanent alice {alices}",
            "1 folders, 1 findings",
        ],
    )
    site.run("cp", alices / "in" / "file", alices / "copied")
    assert f"{alices}/copied: is at s0, not at s0:c512,c514 of alice" in command("check").stdout
    site.run("restorecon", "-RF", alices)
    done = command("check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 folders, 6 findings")
    assert f"{alices}/in/file: is at s0:c0.c1023, not at s0:c512,c514 of alice" in done.stdout


def test_a_folder_labelled_for_good_outlives_a_relabel(alices: Path) -> None:
    with serving(OWN) as selcgi:
        done = command("label", "alice", alices, "--permanent")
        assert done.returncode == 0, done.stderr
        try:
            site.run("restorecon", "-RF", alices)
            assert {level(path) for path in (alices, *alices.rglob("*"))} == {"s0:c512,c513"}
            done = command("check")
            assert (done.returncode, done.stdout) == (0, "1 folders, 0 findings\n"), done.stderr
            assert attempt(selcgi, "alice", f"open('{alices}/in/file', 'a')") == ["ok"]
        finally:
            site.run("semanage", "fcontext", "-d", f"{alices}(/.*)?")


def test_in_selcgis_own_domain_as_its_user_and_as_root(avcs: Claims) -> None:
    with serving(OWN) as selcgi:
        attempt(selcgi, "alice", "os.getpid()")
    listed = site.run(*site.as_service(), "categories", "list")
    assert "c512,c513" in listed
    as_root = site.as_service()[site.as_service().index("env") :]
    done = subprocess.run([*as_root, "categories", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "python -m selcgi categories" in done.stderr
    for permission in ("dac_read_search", "dac_override"):
        avcs.expect("selcgi_t", "selcgi_t", "capability", permission)
