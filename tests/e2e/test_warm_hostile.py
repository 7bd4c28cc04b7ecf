"""What a warm interpreter has loaded works against its worker: the others are served all the same, and it stops."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_warm import HELLO, WSGI, pid_of, zygotes
from tests.stack import Ask, ask, wait_until

# Its own end of the control socket, which loaded code finds among what is open.
CONTROL = f"""{WSGI}
import array, socket
def is_socket(number):
    path = f"/proc/self/fd/{{number}}"
    return os.path.exists(path) and os.readlink(path).startswith("socket:")
control = socket.socket(fileno=os.dup(next(filter(is_socket, range(3, 99)))))
def beside(work):  # a process of its own, which is nobody's child and outlives what has loaded it
    if (pid := os.fork()) == 0:
        if os.fork() == 0:
            work()
        os._exit(0)
    os.waitpid(pid, 0)
"""
# Its child's end of the channel, once it has said that it is born.
CHANNEL = f"""{WSGI}
import array, socket
def os_setsid():
    work(sys._getframe(1).f_locals["channel"])
os.setsid = os_setsid
"""


def of_zygote(text: str) -> str:
    return f"{CONTROL}{text}\nbeside(work)\ncontrol.close()\n"


FLOODS = {
    "a zygote ready for ever": (of_zygote("""
def work():
    while True:
        control.send(b'["ready"]')
"""), 503, "'ready' out of turn"),
    "a zygote that retires for ever": (of_zygote("""
def work():
    while True:
        control.send(b'["retiring", "x"]')
"""), 503, "'retiring' out of turn"),
    "a child that is born for ever": (CHANNEL + """
def work(channel):
    while True:
        channel.send(b'["born"]\\n')
""", 500, "has reported what is no report"),
    "a child that writes for ever": (CHANNEL + """
def work(channel):
    while True:
        channel.send(b'[')
""", 500, "reports without end"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "status", "reason"), FLOODS.values(), ids=FLOODS.keys())
def test_reports_without_end_end_who_writes_them(
    place: Place, serve: Serve, cgroup: Path, text: str, status: int, reason: str
) -> None:
    place.rules("* user_webapp_t:s0 script=*.wsgi warm=wsgi", "* user_webapp_t:s0 warm=yes")
    hostile, script = place.script("app.wsgi", text), place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}") as selcgi:
        assert ask(selcgi.socket, Ask(hostile, "bob")).status == status, selcgi.log()
        assert reason in selcgi.entry()["reason"]
        pid_of(ask(selcgi.socket, Ask(script, "alice")))
        if status == 503:
            wait_until("what wrote them has ended", lambda: len(zygotes(selcgi)) == 1)
            lines = selcgi.log().splitlines()
            assert sum("zygote script=" in line and f"failed: it has reported {reason}" in line for line in lines) == 1
