"""contrib/systemd/selcgi.service as it stands, under a real systemd: confined, delegated, reloaded, drained.

Needs systemd as PID 1, so bin/test boots a guest of its own kind for this file.
"""

import errno
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.enforcing import site, web
from tests.enforcing.conftest import Claims
from tests.stack import wait_until

pytestmark = pytest.mark.enforcing

UNITS = Path("/etc/systemd/system")
# clone(2) and unshare(2) with CLONE_NEWUSER, on x86_64; each prints the errno
NAMESPACES = """#!/usr/bin/python3 -I
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print("Content-Type: text/plain\\n", flush=True)
for call, arguments in ((56, (0x10000000 | 17, 0, 0, 0, 0)), (272, (0x10000000,))):
    done = libc.syscall(call, *arguments)
    if done == 0 and call == 56:
        os._exit(0)
    print(done, ctypes.get_errno())
"""
# All the watches that the kernel grants to one user (epoll(7)); then until the other request has been answered.
HOG = """#!/usr/bin/python3 -I
import os, select, time
print("Content-Type: text/plain\\n", flush=True)
watched, watching = os.pipe()[0], []
try:
    while True:
        watching.append(select.epoll())
        watching[-1].register(watched, select.EPOLLIN)
except OSError as error:
    open("/srv/data/user/full", "w").write(f"{error.errno}\\n")
while not os.path.exists("/srv/data/user/go"):
    time.sleep(0.01)
"""
IDENTITY = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nid -un; id -Gn; grep Cap /proc/self/status\n"
SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat /proc/self/attr/current /proc/self/cgroup\n"


def prop(name: str) -> str:
    return site.run("systemctl", "show", "-P", name, "selcgi").strip()


def main_pid() -> int:
    return int(prop("MainPID"))


def workers() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{main_pid()}/task/{main_pid()}/children").read_text().split()]


@pytest.fixture
def nginx() -> Iterator[web.WebServer]:
    """In front of the unit, started as an administrator would."""
    site.make_proof()
    for name in ("selcgi.service", "selcgi.socket"):
        site.write(UNITS / name, (site.TREE / "contrib" / "systemd" / name).read_text())
    site.script("show.cgi", SHOW)
    site.run("systemctl", "daemon-reload")
    site.run("systemctl", "start", "selcgi")
    with web.WebServer("nginx") as server:
        yield server
    site.run("systemctl", "stop", "selcgi.socket", "selcgi")


def test_service_runs_confined_without_capabilities(nginx: web.WebServer) -> None:  # noqa: ARG001
    assert prop("ActiveState") == "active"
    assert len(workers()) == (os.cpu_count() or 1) + 2, "and the control process and the recorder"
    for pid in (main_pid(), *workers()):
        assert Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0\n") == "system_u:system_r:selcgi_t:s0"
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["CapBnd"] == f"{0:016x}"
        assert status["NoNewPrivs"] == "1"


def test_request_is_answered_in_its_context_and_cgroup(nginx: web.WebServer) -> None:
    status, body = nginx.ask("show.cgi", "alice")
    assert status == 200, body
    context, cgroup = body.replace("\0", "\n").split()
    assert context == site.context_of("alice")
    assert "/selcgi.service/worker-" in cgroup
    assert nginx.ask("show.cgi", "carol")[0] == 403


def test_administrator_sees_what_it_does(nginx: web.WebServer) -> None:
    assert nginx.ask("show.cgi", "alice")[0] == 200
    found = json.loads(site.run(*site.as_service(), "status", "--json"))
    assert found["selinux"] == "enforcing"
    assert {row["pid"] for row in found["workers"]} < set(workers())
    assert found["users"]["alice"]["answers"] >= 1
    listing = site.run("stat", "-c", "%a %U %C", "/run/selcgi/control", "/run/selcgi/control/control.sock").splitlines()
    assert listing == [f"{mode} selcgi system_u:object_r:selcgi_control_t:s0" for mode in (700, 600)]


def test_failures_are_on_record_for_the_administrator_alone(nginx: web.WebServer, avcs: Claims) -> None:
    """The script runs as the user whose file it is: the policy keeps it out."""
    site.script(
        "steal.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nid -un\ncat /var/log/selcgi/failures 2>&1\n"
    )
    assert nginx.ask("show.cgi", "carol")[0] == 403
    status, body = nginx.ask("steal.cgi", "alice")
    assert status == 200
    assert body.startswith("selcgi\n")
    assert "Permission denied" in body
    avcs.expect("user_webapp_t", "var_log_t", "dir", "search")
    record = json.loads(site.run(*site.as_service(), "failures", "--json").splitlines()[-1])
    assert (record["user"], record["status"], record["step"]) == ("carol", 403, "mapping")
    listing = site.run("stat", "-c", "%a %U %C", "/var/log/selcgi", "/var/log/selcgi/failures").splitlines()
    assert listing == [f"{mode} selcgi system_u:object_r:selcgi_log_t:s0" for mode in (700, 600)]
    again = site.run(*site.as_service(), "failures", record["id"])
    assert record["reason"] in again


def test_socket_stays_the_web_servers(nginx: web.WebServer) -> None:
    """Through a start, a restart and a stop of selcgi, with folders that only systemd has made."""
    for what in ("start", "restart", "stop", "start"):
        site.run("systemctl", what, "selcgi")
        found = site.run("stat", "-c", "%n %a %U:%G", "/run/selcgi", "/run/selcgi/selcgi.sock")
        assert found == "/run/selcgi 755 root:root\n/run/selcgi/selcgi.sock 660 selcgi:www-data\n"
    assert nginx.ask("show.cgi", "alice")[0] == 200


def test_script_is_born_in_its_leaf(nginx: web.WebServer) -> None:
    """The unit's filter of system calls and the policy let it: a worker that must move scripts opens no leaf itself."""
    assert nginx.ask("show.cgi", "alice")[0] == 200
    held = [descriptor.readlink().name for pid in workers() for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    assert [name for name in held if name.startswith("leaf-")]


def test_script_makes_no_user_namespace(nginx: web.WebServer, avcs: Claims) -> None:
    """clone(2) is refused by the policy, unshare(2) by the unit's filter."""
    site.script("namespaces.cgi", NAMESPACES)
    status, body = nginx.ask("namespaces.cgi", "alice")
    assert (status, body.split()) == (200, ["-1", str(errno.EACCES), "-1", str(errno.EPERM)])
    avcs.expect("user_webapp_t", "user_webapp_t", "user_namespace", "create")


def test_reload_takes_the_new_mapping(nginx: web.WebServer) -> None:
    before = main_pid()
    site.write(site.MAP, site.rules() + "carol staff_webapp_t:s0\n")
    try:
        site.run("systemctl", "reload", "selcgi")
        wait_until("carol has a rule", lambda: nginx.ask("show.cgi", "carol")[0] == 200)
    finally:
        site.write(site.MAP, site.rules())
    assert main_pid() == before


def test_unit_is_given_the_controllers_that_limits_need(nginx: web.WebServer) -> None:
    try:
        site.write(site.MAP, f"alice {site.CONTEXTS['alice']} memory=100M processes=20 cpus=0.5\n")
        site.run("systemctl", "reload", "selcgi")
        wait_until("the new mapping", lambda: nginx.ask("show.cgi", "bob")[0] == 403)
        status, body = nginx.ask("show.cgi", "alice")
        assert status == 200, body
        leaf = Path("/sys/fs/cgroup" + body.replace("\0", "\n").split()[1].removeprefix("0::"))
        found = [(leaf / name).read_text().split()[0] for name in ("memory.max", "pids.max", "cpu.max")]
        assert found == ["104857600", "20", "50000"]
    finally:
        site.write(site.MAP, site.rules())


def test_users_have_categories_that_outlive_a_restart(nginx: web.WebServer) -> None:
    """In the folder that systemd has made."""
    site.write(site.MAP, "bob user_webapp_t:s0:c1\n* user_webapp_t:s0:c{user},c{request}\n")
    seen = []
    try:
        for what in ("reload", "restart"):
            site.run("systemctl", what, "selcgi")
            wait_until("the new mapping", lambda: "c512" in nginx.ask("show.cgi", "alice")[1])
            seen.append(nginx.ask("show.cgi", "alice")[1].partition("\0")[0])
    finally:
        site.write(site.MAP, site.rules())
    assert seen == ["system_u:system_r:user_webapp_t:s0:c488,c489,c512,c513"] * 2
    places = [f"/var/lib/selcgi{name}" for name in ("", "/categories", "/categories.leases")]
    listing = site.run("stat", "-c", "%a %U %C", *places).splitlines()
    assert listing == [f"{mode} selcgi system_u:object_r:selcgi_state_t:s0" for mode in (750, 600, 600)]
    assert "alice" in site.run(*site.as_service(), "categories", "list")


def test_killed_worker_is_replaced(nginx: web.WebServer) -> None:
    before = workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until("another worker", lambda: before[0] not in workers() and len(workers()) == len(before))
    assert nginx.ask("show.cgi", "alice")[0] == 200


def test_killed_supervisor_takes_all_along_and_comes_back(nginx: web.WebServer) -> None:
    before = [main_pid(), *workers()]
    os.kill(before[0], signal.SIGKILL)
    wait_until("another supervisor", lambda: main_pid() not in (0, before[0]) and prop("ActiveState") == "active")
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]
    assert nginx.ask("show.cgi", "alice")[0] == 200


def test_restart_under_load_loses_no_request(nginx: web.WebServer) -> None:
    """systemd holds the socket meanwhile, and a request in progress ends first."""
    site.script("sleeps.cgi", "#!/bin/sh\nsleep 0.3\nprintf 'Content-Type: text/plain\\n\\nslept\\n'\n")
    over = threading.Event()

    def client() -> list[tuple[int, str]]:
        answers = []
        while not over.is_set():
            answers.append(nginx.ask("sleeps.cgi", "alice"))
        return answers

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        supervisors = {main_pid()}
        for _ in range(3):
            site.run("systemctl", "restart", "selcgi")
            supervisors.add(main_pid())
            assert nginx.ask("sleeps.cgi", "bob") == (200, "slept\n")
        over.set()
    assert len(supervisors) == 4
    assert {answer for one in clients for answer in one.result()} == {(200, "slept\n")}


def test_stop_leaves_no_process(nginx: web.WebServer) -> None:
    before = [main_pid(), *workers()]
    assert nginx.ask("show.cgi", "alice")[0] == 200
    site.run("systemctl", "stop", "selcgi")
    assert prop("Result") == "success"
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]
    assert not Path("/sys/fs/cgroup/system.slice/selcgi.service").exists()


@pytest.fixture
def script_user(nginx: web.WebServer) -> Iterator[web.WebServer]:
    """The same with the drop-in that gives scripts a Unix user of their own."""
    text = (site.TREE / "contrib" / "systemd" / "script-user.conf").read_text()
    (account,) = re.findall(r"^#   (useradd .*)", text, re.MULTILINE)
    site.run("sh", "-c", f"id selcgi-scripts || {account}")
    drop_in = site.write(UNITS / "selcgi.service.d" / "script-user.conf", text)
    site.run("systemctl", "daemon-reload")
    site.run("systemctl", "restart", "selcgi")
    yield nginx
    drop_in.unlink()
    site.run("systemctl", "daemon-reload")


def capabilities(status: str) -> dict[str, int]:
    return {name: int(bits, 16) for name, bits in re.findall(r"^Cap(\w+):\t(\w+)$", status, re.MULTILINE)}


def test_scripts_of_another_unix_user_get_none_of_selcgis_capabilities(script_user: web.WebServer) -> None:
    own = 1 << 5 | 1 << 6 | 1 << 7  # CAP_KILL, CAP_SETGID and CAP_SETUID
    assert capabilities(Path(f"/proc/{workers()[0]}/status").read_text())["Eff"] == own
    site.script("identity.cgi", IDENTITY)
    status, body = script_user.ask("identity.cgi", "alice")
    assert status == 200, body
    assert body.split()[:2] == ["selcgi-scripts", "selcgi-scripts"]
    found = capabilities(body)
    assert {name: found[name] for name in ("Prm", "Eff", "Amb")} == {"Prm": 0, "Eff": 0, "Amb": 0}


def test_a_script_that_uses_up_its_unix_users_share_leaves_selcgi_its_own(script_user: web.WebServer) -> None:
    """The kernel counts watches by user, so selcgi itself would have none left; SELinux is not asked."""
    share, full, go = (
        Path("/proc/sys/fs/epoll/max_user_watches"),
        site.DATA / "user" / "full",
        site.DATA / "user" / "go",
    )
    before = share.read_text()
    share.write_text("2000")
    site.script("hog.cgi", HOG)
    site.script("show.cgi", SHOW)
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(script_user.ask("hog.cgi", "alice")))
    asking.start()
    try:
        wait_until("no watch is left", lambda: full.exists() and full.read_text() == f"{errno.ENOSPC}\n")
        assert [script_user.ask("show.cgi", "bob")[0] for _ in range(3)] == [200] * 3
    finally:
        site.write(go, "", label="user_webapp_rw_t:s0")
        asking.join()
        share.write_text(before)
        for path in (full, go):
            path.unlink(missing_ok=True)
    assert [status for status, _ in answers] == [200]
