"""A script can't take its context back, and can't reach selcgi, its files, or another request."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt
from tests.enforcing.conftest import Claims
from tests.stack import Ask, Selcgi, ask, wait_until

pytestmark = pytest.mark.enforcing

SELCGI = "system_u:system_r:selcgi_t:s0"
BOB = site.context_of("bob")


@pytest.mark.parametrize("wanted", [SELCGI, BOB, "system_u:system_r:user_webapp_t:s0-s0:c0.c1023"])
def test_it_cannot_take_another_context(selcgi: Selcgi, avcs: Claims, wanted: str) -> None:
    tried = attempt(
        selcgi,
        "alice",
        f"write('/proc/self/attr/current', {wanted!r})",
        f"write('/proc/self/attr/exec', {wanted!r})",
        f"write('/proc/self/attr/fscreate', {wanted!r})",
    )
    assert tried == ["EACCES", "EACCES", "EACCES"]
    for permission in ("setcurrent", "setexec", "setfscreate"):
        avcs.expect("user_webapp_t", "user_webapp_t", "process", permission)


def test_it_cannot_reach_selcgis_socket_or_files(selcgi: Selcgi, avcs: Claims) -> None:
    tried = attempt(
        selcgi,
        "alice",
        f"connect({str(selcgi.socket)!r})",
        f"open({str(site.MAP)!r})",
        f"open({str(site.PROOF)!r})",
        f"open({str(selcgi.log_path)!r})",
        f"open({str(site.CGI / 'new.cgi')!r}, 'w')",
        f"open({str(site.PROGRAM)!r}, 'a')",
    )
    assert tried == ["EACCES"] * 6
    avcs.expect("user_webapp_t", "selcgi_runtime_t", "dir", "search")
    avcs.expect("user_webapp_t", "selcgi_conf_t", "dir", "search")


def test_it_cannot_reach_selcgis_processes(selcgi: Selcgi, avcs: Claims) -> None:
    assert selcgi.process is not None
    supervisor, (worker,) = selcgi.process.pid, selcgi.workers()
    tried = attempt(
        selcgi,
        "alice",
        f"os.kill({worker}, 0)",
        f"os.kill({worker}, signal.SIGCONT)",
        f"os.kill({supervisor}, signal.SIGKILL)",
        f"open('/proc/{worker}/environ')",
        f"open('/proc/{worker}/mem')",
        f"os.listdir('/proc/{worker}/fd')",
        "os.kill(os.getppid(), signal.SIGTERM)",
    )
    assert len(tried) == 7
    assert set(tried) <= {"EACCES", "EPERM"}
    for permission in ("signull", "signal", "sigkill"):
        avcs.expect("user_webapp_t", "selcgi_t", "process", permission)
    avcs.expect("user_webapp_t", "selcgi_t", "dir", "search")


@contextmanager
def running_script(selcgi: Selcgi, user: str) -> Iterator[int]:
    """A script of `user` that runs until the block ends; its pid."""
    path = site.script("sleep.cgi", "#!/bin/sh\necho $$ > $QUERY_STRING\nexec sleep 600\n")
    own, label = site.OWN[user]
    place = site.write(own.with_name("pid"), "", 0o666, label)
    code = f"from tests.stack import *; ask(Path({str(selcgi.socket)!r}), Ask({str(path)!r}, {user!r}, {str(place)!r}))"
    client = subprocess.Popen([str(site.PROGRAM.parent / "python"), "-c", code], cwd=site.TREE)
    wait_until("the pid of the script", place.read_text)
    try:
        yield int(place.read_text())
    finally:
        client.kill()
        client.wait()


@pytest.mark.parametrize("other", ["bob", "dora"])
def test_it_cannot_signal_or_inspect_another_users_request(selcgi: Selcgi, avcs: Claims, other: str) -> None:
    domain = site.CONTEXTS[other].split(":")[0]
    with running_script(selcgi, other) as pid:
        tried = attempt(
            selcgi, "alice", f"os.kill({pid}, signal.SIGTERM)", f"os.kill({pid}, 9)", f"open('/proc/{pid}/environ')"
        )
        assert len(tried) == 3
        assert set(tried) <= {"EACCES", "EPERM"}
    for permission in ("signal", "sigkill"):
        avcs.expect("user_webapp_t", domain, "process", permission)
    avcs.expect("user_webapp_t", domain, "dir", "search")


def test_it_reaches_no_network_and_no_administration(selcgi: Selcgi, avcs: Claims) -> None:
    tried = attempt(
        selcgi,
        "alice",
        "socket.create_connection(('127.0.0.1', 25))",
        "socket.create_server(('127.0.0.1', 8080))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "write('/sys/fs/selinux/enforce', '0')",
        "open('/etc/shadow')",
        "os.setuid(0)",
    )
    assert "ok" not in tried
    avcs.expect("user_webapp_t", "smtp_port_t", "tcp_socket", "name_connect")
    avcs.expect("user_webapp_t", "user_webapp_t", "udp_socket", "create")
    avcs.expect("user_webapp_t", "user_webapp_t", "tcp_socket", "bind")


def test_a_script_that_is_killed_by_another_of_its_user_is_its_users_own_affair(selcgi: Selcgi) -> None:
    with running_script(selcgi, "alice") as pid:
        assert attempt(selcgi, "alice", f"os.kill({pid}, {int(signal.SIGKILL)})") == ["ok"]
    assert ask(selcgi.socket, Ask(str(site.CGI / "attempt.py"), "bob", body=b"1")).text == "ok\n"
