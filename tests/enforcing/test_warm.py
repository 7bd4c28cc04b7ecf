"""Scripts in forks of warm interpreters, in enforcing mode: each user in his context, with no way out of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_ending import begin
from tests.e2e.test_warm import FAMILY, zygotes
from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.warm import rules, serving
from tests.enforcing.web import WebServer
from tests.family import SOURCE, alive, new_tag, wait_dead, wait_started
from tests.stack import Ask, Selcgi, ask, ask_all, wait_until

pytestmark = pytest.mark.enforcing

TELLS = """#!/usr/bin/python3
import os
with open("/proc/self/attr/current") as file:
    context = file.read().rstrip("\\0")
print("Content-Type: text/plain\\n")
print(context, os.environ.get("REMOTE_USER", ""))
"""
# A hundred callbacks, and libffi maps code from its file once more, by a descriptor that it has kept open.
CALLBACKS = """#!/usr/bin/python3
import ctypes, os
filled = [os.open(__file__, os.O_RDONLY) for _ in range(9)]
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
callbacks = [Callback(lambda value, more=more: value + more) for more in range(300)]
print("Content-Type: text/plain\\n")
print(sum(each(0) for each in callbacks))
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    with open("/proc/self/attr/current") as file:
        yield file.read().rstrip("\\0").encode()
    for path in environ["QUERY_STRING"].split(","):
        try:
            with open(path) as file:
                yield b" " + file.read().strip().encode()
        except OSError as error:
            yield f" {error.errno}".encode()
"""
EVERYWHERE = (
    "user_zygote_t:s0",
    "user_webapp_t:s0",
    "user_webapp_t:s0:c2",
    "user_webapp_t:s0-s0:c0.c1023",
    "staff_webapp_t:s0",
    "staff_zygote_t:s0",
    "selcgi_t:s0",
    "initrc_t:s0",
)


@pytest.fixture
def warm() -> Iterator[Selcgi]:
    with serving("--kill-grace=0.5") as running:
        yield running


def own(user: str) -> str:
    return str(site.OWN[user][0])


def test_every_user_is_served_in_the_users_context(warm: Selcgi) -> None:
    path = site.script("tells.py", TELLS)
    for number, user in enumerate(("alice", "bob", "dora", "", "alice"), 1):
        answer = run_as(warm, path, user)
        assert answer.status == 200, warm.log()
        assert answer.text.split() == [site.context_of(user), *filter(None, (user,))]
        wait_until("its line", lambda many=number: len(warm.entries()) == many)
        entry = warm.entry()
        assert (entry["launch"], entry["context"], entry["exit"]) == ("warm", site.context_of(user), "0")
    contexts = [Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0") for pid in zygotes(warm)]
    assert sorted(contexts) == [f"system_u:system_r:{name}_zygote_t:s0" for name in ("anon", "staff", "user")]


def test_each_reads_his_own_and_nobody_elses(warm: Selcgi, avcs: Claims) -> None:
    for user, others in (("alice", ("bob", "dora")), ("bob", ("alice", "dora")), ("dora", ("alice", "bob"))):
        tried = attempt(warm, user, f"open({own(user)!r})", *(f"open({own(other)!r})" for other in others))
        assert tried == ["ok", "EACCES", "EACCES"]
        domain = site.CONTEXTS[user].split(":")[0]
        for kind in {site.OWN[other][1].split(":")[0] for other in others}:
            avcs.expect(domain, kind, "file", "read")


@pytest.mark.parametrize("wanted", EVERYWHERE)
def test_a_script_cannot_change_its_context_in_any_direction(warm: Selcgi, avcs: Claims, wanted: str) -> None:
    context = f"system_u:system_r:{wanted}"
    names = ("current", "exec", "fscreate", "keycreate", "sockcreate")
    tried = attempt(
        warm,
        "alice",
        *(f"write('/proc/self/attr/{name}', {context!r})" for name in names),
        f"write('/proc/thread-self/attr/current', {context!r})",
        f"__import__('selinux').setcon({context!r})",
        f"__import__('selinux').setexeccon({context!r})",
    )
    assert tried == ["EACCES"] * 8
    for name in names:
        avcs.expect("user_webapp_t", "user_webapp_t", "process", f"set{name}")


def test_callbacks_of_ctypes_find_their_code_where_a_fresh_process_does(avcs: Claims) -> None:
    """Up to libffi 3.4 they are written to a file in memory and executed there, which no webapp domain may."""
    path = site.script("callbacks.py", CALLBACKS)
    with site.serving() as cold:
        wanted = run_as(cold, path, "alice")
        log = cold.log()
    with serving() as warm:
        answer = run_as(warm, path, "alice")
        log += warm.log()
    assert answer.status == wanted.status, log
    if answer.status == 200:
        assert answer.text == wanted.text == f"{sum(range(300))}\n"
    else:
        assert log.count('"MemoryError"') == 2
        avcs.expect("user_webapp_t", "tmpfs_t", "file", "write")


def test_it_reaches_neither_its_interpreter_nor_that_ones_program(warm: Selcgi, avcs: Claims) -> None:
    run_as(warm, site.script("tells.py", TELLS), "alice")
    found = {Path(f"/proc/{pid}/attr/current").read_text().split(":")[2]: pid for pid in zygotes(warm)}
    zygote = found["user_zygote_t"]
    tried = attempt(
        warm,
        "alice",
        f"os.kill({zygote}, signal.SIGTERM)",
        f"os.kill({zygote}, signal.SIGKILL)",
        f"open('/proc/{zygote}/environ')",
        f"open('/proc/{zygote}/mem', 'r+b')",
        "os.posix_spawn('/opt/selcgi/bin/selcgi-zygote', ['selcgi-zygote', '/mnt/src'], {})",
    )
    assert set(tried) <= {"EACCES", "EPERM"}
    assert len(tried) == 5
    avcs.expect("user_webapp_t", "user_zygote_t", "process", "signal")
    avcs.expect("user_webapp_t", "user_zygote_t", "process", "sigkill")
    avcs.expect("user_webapp_t", "user_zygote_t", "dir", "search")
    avcs.expect("user_webapp_t", "selcgi_zygote_exec_t", "file", "execute")
    assert Path(f"/proc/{zygote}").exists()


@pytest.fixture
def family() -> str:
    path = site.script("family.bash", SOURCE)
    return str(site.script("warmfamily.cgi", FAMILY.format(path=str(path))))


def test_all_that_it_started_ends_with_it(warm: Selcgi, family: str) -> None:
    tags = [new_tag() for _ in range(4)]
    answers = ask_all(warm.socket, [Ask(family, "alice", f"end={tag}") for tag in tags])
    assert [(one.status, one.text) for one in answers] == [(200, "started\n")] * 4, warm.log()
    assert [alive(tag) for tag in tags] == [[]] * 4


def test_a_client_that_leaves_ends_it(warm: Selcgi, family: str) -> None:
    tag = new_tag()
    with begin(warm, Ask(family, "bob", f"hang={tag}")) as sock:
        wait_started(tag)
        assert b"started" in sock.recv(65536)
    wait_dead(tag)


def test_a_deadline_ends_it_and_not_the_interpreter(family: str) -> None:
    with serving("--kill-grace=0.5", text=rules("warm=yes timeout=2s")) as selcgi:
        tag = new_tag()
        assert not ask(selcgi.socket, Ask(family, "alice", f"stubborn={tag}")).complete
        assert alive(tag) == []
        assert (selcgi.entry()["killed_by"], selcgi.entry()["launch"]) == ("total", "warm")
        assert len(zygotes(selcgi)) == 1


def test_a_wsgi_application_behind_nginx(avcs: Claims) -> None:
    path = site.script("app.wsgi", WSGI)
    query = ",".join(map(own, ("alice", "bob", "dora")))
    texts = [site.OWN[user][0].read_text().strip() for user in ("alice", "bob", "dora")]
    identity = f"proof:{site.PROOF},peer-type=httpd_t"
    with serving(text=rules("warm=wsgi"), identity=identity) as selcgi, WebServer("nginx") as web:
        for number, user in enumerate(("alice", "bob", "dora")):
            seen = ["13", "13", "13"]
            seen[number] = texts[number]
            expected = " ".join((site.context_of(user), *seen))
            assert web.ask(f"{path.name}?{query}", user) == (200, expected), selcgi.log()
        assert web.ask(f"{path.name}?{query}") == (200, " ".join((site.context_of(""), "13", "13", "13")))
    for domain in ("user_webapp_t", "staff_webapp_t", "anon_webapp_t"):
        avcs.expect(domain, "staff_webapp_rw_t" if domain == "user_webapp_t" else "user_webapp_rw_t", "file", "read")
    avcs.expect("user_webapp_t", "user_webapp_rw_t", "file", "read")
    avcs.expect("anon_webapp_t", "staff_webapp_rw_t", "file", "read")


def test_a_policy_that_is_loaded_anew_has_new_interpreters(warm: Selcgi) -> None:
    path = site.script("tells.py", TELLS)
    assert run_as(warm, path, "alice").status == 200
    (first,) = zygotes(warm)
    site.run("load_policy")
    assert run_as(warm, path, "alice").text.split() == [site.context_of("alice"), "alice"]
    wait_until("the first is gone", lambda: first not in zygotes(warm))
    assert f"pid={first} retiring: the policy was loaded anew" in warm.log()
