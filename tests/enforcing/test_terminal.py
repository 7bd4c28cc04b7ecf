"""selcgi typed at a terminal: it works for administrators, and tells everybody else why it does not.

The login is played by a program in sshd_t, as a real one is: it opens the terminal, gives it the label that the policy
wants for the user, and starts the user's shell. So descriptors, labels, roles and ranges are those of a login.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.enforcing.web import WebServer

pytestmark = pytest.mark.enforcing

PACKAGE = Path("/opt/terminal")  # where users may read it: not all may look into the tree
LOGIN = Path("/opt/selcgi/bin/login")
SOURCE = """#!/usr/bin/python3 -I
import fcntl, os, pty, sys, termios
import selinux
context, command = sys.argv[1:]
master, slave = pty.openpty()
name = os.ttyname(slave)
label = selinux.getfilecon_raw(name)[1]
label = selinux.security_compute_relabel_raw(context, label, selinux.string_to_security_class("chr_file"))[1]
selinux.setfilecon_raw(name, label)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(slave, descriptor)
    os.closerange(3, 64)
    selinux.setexeccon_raw(context)
    os.execve("/bin/bash", ["-bash", "--noprofile", "-c", command], dict(os.environ))
os.close(slave)
try:
    while data := os.read(master, 4096):
        os.write(1, data)
except OSError:
    pass  # EIO: the last process has closed the terminal
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
SCRIPT = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
cat /proc/self/attr/current
echo
"""
UNCONFINED = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023"
SYSADM = "sysadm_u:sysadm_r:sysadm_t:s0-s0:c0.c1023"
SELCGI = "/opt/selcgi/bin/selcgi"
RUN = f"run --script-user selcgi --root {site.CGI} --map {site.MAP} --user alice context.cgi"


@pytest.fixture(scope="module", autouse=True)
def logins() -> Iterator[None]:
    site.script("context.cgi", SCRIPT)
    site.write(LOGIN, SOURCE, 0o755, "sshd_exec_t:s0")
    shutil.copytree(site.TREE / "selcgi", PACKAGE / "selcgi", ignore=shutil.ignore_patterns("__pycache__"))
    site.run("restorecon", "-RF", PACKAGE)
    site.run("setsebool", "ssh_sysadm_login", "on")
    yield
    site.run("setsebool", "ssh_sysadm_login", "off")
    shutil.rmtree(PACKAGE)
    LOGIN.unlink()


@pytest.fixture(autouse=True)
def noise_of_the_login(avcs: Claims) -> Iterator[None]:
    yield
    if any("sysctl_vm_t" in denial for denial in avcs.unclaimed):  # Python there, at its start; not on every suite
        avcs.expect("sshd_t", "sysctl_vm_t", "dir", "search")


def at_terminal(context: str, command: str) -> tuple[int, str]:
    """Exit code of the command in the user's shell, and what the terminal showed; colours go, once they were seen."""
    environ = ("env", "-i", "PATH=/usr/bin", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={PACKAGE}")
    words = [*environ, "runcon", "system_u:system_r:sshd_t:s0-s0:c0.c1023", str(LOGIN), context, command]
    done = subprocess.run(words, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", "").replace("\0", "")


@pytest.mark.parametrize("admin", [UNCONFINED, SYSADM])
def test_an_administrator_sees_the_answer_and_what_was_decided(admin: str) -> None:
    code, shown = at_terminal(admin, f"id -Z; {SELCGI} {RUN}")
    user, role = admin.split(":")[:2]
    context = f"{user}:{role}:user_webapp_t:s0:c1"
    assert code == 0
    assert plain(shown).startswith(f"{admin}\nStatus: 200 OK\nContent-Type: text/plain\n\n{context}")
    assert f"\ncontext: {context}\n" in plain(shown)
    assert "\x1b[1mcontext:\x1b[0m" in shown, "it knows that this is a terminal"


@pytest.mark.parametrize("folder", ["/root", "/tmp"])
def test_an_administrator_sends_the_answer_into_a_file_or_a_pipe(folder: str) -> None:
    piped = f"{SELCGI} {RUN} 2>decided | cat > answer"
    for command in (f"{SELCGI} {RUN} > answer 2> decided < /dev/null", piped):
        code, shown = at_terminal(UNCONFINED, f"cd {folder}; {command}; cat answer decided; rm answer decided")
        assert (code, shown.count("user_webapp_t:s0:c1")) == (0, 2), shown


def test_a_shell_completes_for_an_administrator() -> None:
    """Which starts selcgi in its own domain, where no other program can be started."""
    words = "COMP_WORDS=(selcgi fai); COMP_CWORD=1"
    command = f". {site.TREE}/contrib/completion/selcgi.bash; {words}; _selcgi {SELCGI}; echo [${{COMPREPLY[*]}}]"
    code, shown = at_terminal(UNCONFINED, command)
    assert (code, plain(shown)) == (0, "[failures]\n")


def test_another_range_is_refused() -> None:
    code, shown = at_terminal(UNCONFINED, f"runcon -t selcgi_t -l s0-s0:c0.c1023 {SELCGI} {RUN}")
    assert code == 3
    refused = "selcgi: StartRefused: selcgi runs at s0-s0:c0.c1023, not at s0: "
    assert plain(shown).startswith(refused)
    assert plain(shown).count("\n") == 1


@pytest.mark.parametrize(
    "user", ["staff_u:staff_r:staff_t:s0-s0:c0.c1023", "user_u:user_r:user_t:s0"], ids=["staff", "user"]
)
def test_anybody_else_is_told_why_not(avcs: Claims, user: str) -> None:
    domain = user.split(":")[2]
    code, shown = at_terminal(user, f"{SELCGI} {RUN}")
    (line,) = plain(shown).splitlines()
    assert (code, line.partition(":")[0]) == (3, "selcgi")
    assert f"StartRefused: selcgi runs in {domain}, not in selcgi_t: " in line
    assert "; " in line, "what to do"
    avcs.expect(domain, "guest_hostfs_t", "dir", "read")  # Python looks there too, in this guest


def test_an_administrator_checks_the_web_server_from_another_domain_than_selcgis(avcs: Claims) -> None:
    """Which may connect nowhere, and that stays so."""
    control = f"--control={site.RUNTIME}/control.sock"
    options = ("--cgroup=none", control)
    check = f"check-front {control} --auth alice:{site.PASSWORD} http://127.0.0.1/cgi-bin/context.cgi"
    with site.serving(*options, identity=f"proof:{site.PROOF},peer-type=httpd_t"), WebServer("nginx"):
        code, shown = at_terminal(UNCONFINED, f"/opt/selcgi/bin/python -m selcgi {check}")
        assert (code, "forged" in shown) == (0, False), shown
        assert "alice counts as alice" in plain(shown)
        assert re.search(r"good +a lost client +is reported", plain(shown))
        code, shown = at_terminal(UNCONFINED, f"{SELCGI} {check}")
        assert code == 3
        assert "may not connect to 127.0.0.1:80: Permission denied; run it in your own domain: " in plain(shown)
    avcs.expect("selcgi_t", "selcgi_t", "tcp_socket", "create")


def test_an_administrator_asks_a_running_selcgi(avcs: Claims) -> None:
    """By its UNIX socket from any domain of his; by TCP not from selcgi's."""
    own, words = "/opt/selcgi/bin/python -m selcgi", f"--proof {site.PROOF} --root {site.CGI} --user alice context.cgi"
    with site.serving("--cgroup=none", identity=f"proof:{site.PROOF}"):
        for program in (SELCGI, own):
            code, shown = at_terminal(UNCONFINED, f"{program} request {words}")
            assert (code, "user_webapp_t:s0:c1" in shown) == (0, True), shown
    code, shown = at_terminal(UNCONFINED, f"{own} request --to 127.0.0.1:9140 {words}")
    assert (code, "can't be reached: Connection refused; is that" in plain(shown)) == (3, True), shown
    code, shown = at_terminal(UNCONFINED, f"{SELCGI} request --to 127.0.0.1:9140 {words}")
    assert (code, "Permission denied; run it as root; with SELinux in your own domain" in plain(shown)) == (3, True)
    avcs.expect("selcgi_t", "selcgi_t", "tcp_socket", "create")
