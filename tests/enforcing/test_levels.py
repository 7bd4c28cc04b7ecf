"""Users of one domain and of different levels: a running request is out of the others' reach, whoever dominates whom.

The mapping is the one of contrib/selinux/README.md in the shipped domain: one user with categories, the others without.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt
from tests.enforcing.conftest import Claims
from tests.stack import Answer, Ask, Selcgi, ask, wait_until

pytestmark = pytest.mark.enforcing

RULES = "alice user_webapp_t:s0:c1\nbob user_webapp_t:s0:c1,c2\n* user_webapp_t:s0\n"
PLACE = site.DATA / "user"
VICTIM = """#!/usr/bin/python3
import os, pathlib, socket, sys, time
stream = socket.socket(socket.AF_UNIX)
stream.bind("\\0victim-stream")
stream.listen()
packets = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
packets.bind("\\0victim-packets")
print("Content-Type: text/plain\\n", flush=True)
pathlib.Path(os.environ["QUERY_STRING"]).write_text(f"{os.getpid()}\\n")
while not os.path.exists("/srv/data/user/go"):
    time.sleep(0.01)
print("got", sys.stdin.read(), flush=True)
"""


@contextmanager
def victim(selcgi: Selcgi, user: str, answers: list[Answer]) -> Iterator[int]:
    """A request of `user` whose body is not read before the block ends; its pid. Then the answer is in `answers`."""
    path = site.script("victim.py", VICTIM)
    told, go = PLACE / "victim-pid", PLACE / "go"
    wish = Ask(str(path), user, str(told), body=b"password=secret")
    asking = threading.Thread(target=lambda: answers.append(ask(selcgi.socket, wish)))
    asking.start()
    try:
        wait_until("the pid of the victim", lambda: told.exists() and told.read_text().endswith("\n"))
        yield int(told.read_text())
    finally:
        site.write(go, "", label="user_webapp_rw_t:s0")
        asking.join()
        told.unlink()
        go.unlink()


@pytest.mark.parametrize(("user", "other"), [("alice", "eve"), ("eve", "alice"), ("bob", "alice"), ("alice", "bob")])
def test_a_request_is_out_of_reach_of_another_level(avcs: Claims, user: str, other: str) -> None:
    answers: list[Answer] = []
    rules = site.write(site.MAP.with_name("levels.map"), RULES)
    with site.serving(f"--map={rules}") as selcgi, victim(selcgi, other, answers) as pid:
        tried = attempt(
            selcgi,
            user,
            f"open('/proc/{pid}/environ')",
            f"open('/proc/{pid}/cmdline')",
            f"open('/proc/{pid}/fd/0')",
            f"open('/proc/{pid}/fd/1', 'w')",
            f"os.stat('/proc/{pid}/fd')",
            f"os.readlink('/proc/{pid}/exe')",
            f"os.kill({pid}, signal.SIGSTOP)",
            f"os.kill({pid}, signal.SIGCONT)",
            f"os.kill({pid}, signal.SIGKILL)",
            f"os.kill({pid}, 0)",
            f"os.getpgid({pid})",
            f"os.sched_getaffinity({pid})",
            "connect('\\0victim-stream')",
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '\\0victim-packets')",
        )
    assert tried == ["EACCES"] * 14
    assert [(answer.status, answer.text) for answer in answers] == [(200, "got password=secret\n")]
    for permission in ("sigstop", "signal", "sigkill", "signull", "getpgid", "getsched"):
        avcs.expect("user_webapp_t", "user_webapp_t", "process", permission)
    avcs.expect("user_webapp_t", "user_webapp_t", "dir", "search")
    avcs.expect("user_webapp_t", "user_webapp_t", "unix_stream_socket", "connectto")
    avcs.expect("user_webapp_t", "user_webapp_t", "unix_dgram_socket", "sendto")


def test_a_request_of_the_same_level_is_not() -> None:
    """So what the test above saw was the level's doing. Users who share a context are not kept apart."""
    answers: list[Answer] = []
    rules = site.write(site.MAP.with_name("levels.map"), RULES)
    with site.serving(f"--map={rules}") as selcgi, victim(selcgi, "eve", answers) as pid:
        tried = attempt(
            selcgi,
            "mallory",
            f"open('/proc/{pid}/environ')",
            f"os.write(os.open('/proc/{pid}/fd/1', os.O_WRONLY), b'not from eve\\n')",
            f"os.kill({pid}, 0)",
            "connect('\\0victim-stream')",
        )
    assert tried == ["ok"] * 4
    assert answers[0].text == "not from eve\ngot password=secret\n"
