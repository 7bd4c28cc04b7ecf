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


# What does the work of a zygote and its child, with a step of it in the application's hands.
STEPS = f"""{WSGI}
main, birth = sys.modules["selcgi.zygote.main"], sys.modules["selcgi.zygote.birth"]
receive = main.receive_descriptors
def end(*_):
    os._exit(3)
def be_asked(control):
    found = receive(control)
    work(found)
    return found
"""
ASKED = f"{STEPS}\nmain.receive_descriptors = be_asked\n"
DEATHS = {
    "a zygote that ends when it is asked": (f"{ASKED}\nwork = end", 503),
    "a zygote that ends once it has forked": (f"{STEPS}\nmain._close = end", 201),
    "a zygote that closes nothing": (f"{STEPS}\nmain._close = print", 201),
    "a zygote that says it is the child": (f"{ASKED}\ndef work(found): os.write(found[5], b'[\"born\"]\\n')", 500),
    "a child that ends unborn": (f"{STEPS}\nmain.become = end", 503),
    "a child that ends newborn": (f"{STEPS}\nos.setsid = end", 500),
    "a child that ends with its job": (f"{STEPS}\nbirth.decode_job = end", 502),
}


@pytest.mark.parametrize(("text", "status"), DEATHS.values(), ids=DEATHS.keys())
def test_wherever_one_ends_its_own_requests_alone_are_the_worse_for_it(
    place: Place, serve: Serve, cgroup: Path, text: str, status: int
) -> None:
    place.rules("* user_webapp_t:s0 script=*.wsgi warm=wsgi", "* user_webapp_t:s0 warm=yes")
    hostile, script = place.script("app.wsgi", text), place.script("hello.cgi", HELLO)
    with serve(f"--cgroup={cgroup}") as selcgi:
        workers = selcgi.workers()
        served = [ask(selcgi.socket, Ask(path, "alice")).status for path in (hostile, script) * 3]
        assert served == [status, 200] * 3, selcgi.log()
        assert selcgi.workers() == workers
        wait_until("no process of a request is left", lambda: children(workers[0]) == set(zygotes(selcgi)))


def children(worker: int) -> set[int]:
    return set(map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split()))
