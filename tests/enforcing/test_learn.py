"""`selcgi learn`: what an application lacks is printed and proven, and its own domain is never touched."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selcgi.cli.learn import REFUSED_AGAIN
from selcgi.system.refusals import SILENT
from selcgi.system.twins import read_domain
from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import load
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

PYTHON = site.PROGRAM.parent / "python"
PAGES = Path("/srv/pages")
LETTER = Path("/home/visitor/letter")
OTHERS = site.DATA / "staff" / "others.txt"  # at a level that dora has not
STARTED = site.DATA / "staff" / "started"
DOMAIN = "staff_webapp_t"
NEEDY = f"""#!/usr/bin/python3
import os, socket, time
if os.environ["QUERY_STRING"] == "wait":
    open({str(STARTED)!r}, "w").close()
    time.sleep(600)
lacks = []
def connect():
    try:
        socket.create_connection(("127.0.0.1", 389))
    except ConnectionRefusedError:
        pass
def optional():
    for path in ("/sys/fs/selinux/enforce", {str(OTHERS)!r}):
        try:
            open(path).read()
        except OSError:
            pass
for need in (lambda: os.listdir({str(PAGES)!r}), lambda: open({str(LETTER)!r}).read(), connect, optional):
    try:
        need()
    except OSError as error:
        lacks.append(str(error))
print("Status:", 500 if lacks else 200)
print("Content-Type: text/plain\\n")
print(lacks)
"""
BLOCK = {
    "(allow staff_webapp_t ldap_port_t (tcp_socket (name_connect)))",
    "(allow staff_webapp_t home_root_t (dir (search)))",
    "(allow staff_webapp_t user_home_dir_t (dir (search)))",
    "(allow staff_webapp_t user_home_t (file (getattr ioctl open read)))",
    "(allow staff_webapp_t httpd_sys_content_t (dir (getattr open read)))",
}


@pytest.fixture(scope="module")
def needy() -> Path:
    site.write(PAGES / "page", "page\n", label="httpd_sys_content_t:s0")
    site.chcon(PAGES, "httpd_sys_content_t:s0")
    site.write(LETTER, "dear\n", 0o644, "user_home_t:s0").parent.chmod(0o755)
    site.chcon(LETTER.parent, "user_home_dir_t:s0")
    site.write(OTHERS, "others\n", 0o666, "staff_webapp_rw_t:s0:c5")
    return site.script("needy.py", NEEDY)


@contextmanager
def learning(script: Path, *words: str, dangerous: bool = False) -> Iterator[subprocess.Popen[str]]:
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(site.TREE)}
    environ |= {"PYTHONPYCACHEPREFIX": site.BYTECODE, "PYTHONDONTWRITEBYTECODE": "1"}
    line = [str(PYTHON), "-m", "selcgi", "learn", "--user=dora", "--script-user=selcgi", str(script), *words]
    pipe = subprocess.PIPE
    line += ["--dangerous"] if dangerous else []
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environ, start_new_session=True) as process:
        yield process


def twins_left() -> list[str]:
    modules = [line for line in site.run("semodule", "-l").split() if "learn" in line]
    maps = [str(path) for path in site.MAP.parent.glob(".learn*")]
    return modules + maps + [str(path) for path in Path("/tmp").glob("selcgi-learn-*")]


def claim_twins(avcs: Claims) -> list[str]:
    """The refusals of twins, permissive or not; those that were enforced."""
    avcs.claim_permissive()
    avcs.expect("initrc_t", "initrc_t", "capability2", "audit_read")  # so it reads the kernel's log
    enforced = [one for one in avcs.unclaimed if ":learn_" in one.partition(" -> ")[0]]
    for one in list(enforced):
        found = re.match(r"\S+?:\S+?:(\w+):\S+ -> \S+?:\S+?:([\w.]+):\S+ : (\w+) \{ (\w+)", one)
        assert found
        if one in avcs.unclaimed:
            avcs.expect(found[1], found[2], found[3], found[4])
    return enforced


def status(selcgi: Selcgi, script: Path) -> int:
    return run_as(selcgi, script, "dora").status


def test_a_learning_that_is_interrupted_leaves_nothing(needy: Path, avcs: Claims) -> None:
    shutil.rmtree(STARTED, ignore_errors=True)
    with learning(needy, "?wait") as process:
        wait_until("the script of the twin", STARTED.exists, seconds=150, pause=0.2)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    claim_twins(avcs)
    assert twins_left() == []
    STARTED.unlink()


def test_what_is_learned_makes_it_work_in_the_domain_itself(needy: Path, avcs: Claims) -> None:
    before = read_domain(DOMAIN)
    with learning(needy) as process:
        block, said = process.communicate(timeout=420)
    assert process.returncode == REFUSED_AGAIN, said + block
    assert "permissive: Status: 200 OK   enforcing: Status: 200 OK" in said
    _, _, again = said.partition("proven, but for what no rule allows (1) and what was left out as dangerous (1):\n")
    assert again, said
    unallowed, withheld = again.splitlines()
    assert unallowed.startswith("  it wanted to read others.txt "), said
    assert "(staff_webapp_rw_t:s0:c5): refused, by its categories (MCS constraint)" in unallowed
    assert withheld.startswith("  it wanted to read enforce "), said
    assert withheld.endswith("(security_t:s0): SELinux's own files")
    assert "instead of 3 of these rules: setsebool -P selcgi_webapp_read_home on\n" in said
    lines = [line.partition("  ;")[0] for line in block.splitlines()]
    assert {line for line in lines if line.startswith("(")} == BLOCK
    (dangerous,) = [line for line in lines if line.startswith("; dangerous: ")]
    assert "security_t (file (" in dangerous
    assert all("security_t" in one or "staff_webapp_rw_t" in one for one in claim_twins(avcs))
    assert read_domain(DOMAIN) == before
    assert twins_left() == []
    works(needy, block, avcs)


def works(needy: Path, block: str, avcs: Claims) -> None:
    """500 without the block, 200 with it, which stays."""
    with site.serving() as running:
        assert status(running, needy) == 500
        for _, target, tclass, permission in (
            (0, "httpd_sys_content_t", "dir", "read"),
            (0, "home_root_t", "dir", "search"),
            (0, "ldap_port_t", "tcp_socket", "name_connect"),
        ):
            avcs.expect(DOMAIN, target, tclass, permission)
        load("given", block)
        assert status(running, needy) == 200
    avcs.expect(DOMAIN, "staff_webapp_rw_t", "file", "read")


SILENT_NEED = """#!/usr/bin/python3
try:
    open("/etc/selinux/config").close()
except OSError as error:
    print("Status: 500\\n\\n", error)
else:
    print("Content-Type: text/plain\\n\\nok")
"""


def test_a_refusal_that_is_not_recorded_is_said_to_be_possible(avcs: Claims) -> None:
    """The base policy has a dontaudit rule for its folder, so that neither run is told of that."""
    with learning(site.script("silent.py", SILENT_NEED), dangerous=True) as process:
        block, said = process.communicate(timeout=420)
    assert process.returncode == 1, said + block
    assert f"missing: {SILENT}\n" in said
    assert said.endswith("not proven\n")
    claim_twins(avcs)
