"""What a warm interpreter and its child can do before the child moves: the kernel refuses all but reading code.

The application is hostile: its module-level code runs in the zygote's domain, as a preload's does, and so does its hook
for forks, in the child of a request. Each refusal is shown by the kernel's own record.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.warm import rules, serving
from tests.stack import Answer, Selcgi

pytestmark = pytest.mark.enforcing

ALICE, BOB = (str(site.OWN[user][0]) for user in ("alice", "bob"))
# expression -> its denial: target, class, permission
TRIES: dict[str, tuple[str, str, str]] = {
    f"open({ALICE!r})": ("user_webapp_rw_t", "dir", "search"),
    f"os.listdir({str(site.DATA / 'user')!r})": ("user_webapp_rw_t", "dir", "read"),
    f"open({str(site.PUBLIC)!r})": ("selcgi_public_content_t", "dir", "search"),
    f"open({str(site.MAP)!r})": ("selcgi_conf_t", "dir", "search"),
    "open('/tmp/left', 'w')": ("tmp_t", "dir", "write"),
    "socket.socket(socket.AF_INET)": ("user_zygote_t", "tcp_socket", "create"),
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)": ("user_zygote_t", "udp_socket", "create"),
    "socket.socket(socket.AF_UNIX).connect('/run/selcgi/selcgi.sock')": ("selcgi_runtime_t", "dir", "search"),
    "os.kill(os.getppid(), signal.SIGTERM)": ("selcgi_t", "process", "signal"),
    "os.kill(os.getppid(), signal.SIGKILL)": ("selcgi_t", "process", "sigkill"),
    "trace(os.getppid())": ("selcgi_t", "process", "ptrace"),
    "open(f'/proc/{os.getppid()}/mem', 'r+b')": ("selcgi_t", "dir", "search"),
    "open('/sys/fs/cgroup/cgroup.procs', 'w')": ("cgroup_t", "dir", "search"),
    "os.posix_spawn('/bin/true', ['true'], {})": ("bin_t", "file", "execute_no_trans"),
    "os.posix_spawn('/bin/sh', ['sh'], {})": ("shell_exec_t", "file", "execute"),
    f"os.posix_spawn({str(site.PROGRAM)!r}, ['selcgi'], {{}})": ("selcgi_exec_t", "file", "execute"),
    "write('exec', 'user_webapp_t:s0')": ("user_zygote_t", "process", "setexec"),
    "write('fscreate', 'user_webapp_t:s0')": ("user_zygote_t", "process", "setfscreate"),
    "write('sockcreate', 'user_webapp_t:s0')": ("user_zygote_t", "process", "setsockcreate"),
    "write('keycreate', 'user_webapp_t:s0')": ("user_zygote_t", "process", "setkeycreate"),
    "write('current', 'staff_webapp_t:s0')": ("staff_webapp_t", "process", "dyntransition"),
    "write('current', 'anon_webapp_t:s0:c1')": ("anon_webapp_t", "process", "dyntransition"),
    "write('current', 'staff_zygote_t:s0')": ("staff_zygote_t", "process", "dyntransition"),
    "write('current', 'selcgi_t:s0')": ("selcgi_t", "process", "dyntransition"),
    "write('current', 'initrc_t:s0')": ("initrc_t", "process", "dyntransition"),
}
# Of what selcgi has lent for the request, in the child alone.
LENT: dict[str, tuple[str, str, str]] = {
    "os.open('cgroup.procs', os.O_WRONLY, dir_fd=lent('/sys/fs/cgroup'))": ("cgroup_t", "dir", "search"),
    "os.open('/proc/self/fd/%d/cgroup.kill' % lent('/sys/fs/cgroup'), os.O_WRONLY)": ("cgroup_t", "dir", "search"),
}
SOURCE = """
import ctypes, errno, json, os, signal, socket

LIBC = ctypes.CDLL(None, use_errno=True)

def trace(pid):
    if LIBC.ptrace(16, pid, None, None) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "")

def write(name, context):
    fd = os.open("/proc/thread-self/attr/" + name, os.O_WRONLY)
    try:
        os.write(fd, b"system_u:system_r:" + context.encode())
    finally:
        os.close(fd)

def lent(start):
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name).startswith(start):
                return int(name)
        except OSError:
            pass
    raise AssertionError("nothing of " + start)

def tried(expressions):
    found = {}
    for text in expressions:
        try:
            eval(text)
            found[text] = "ok"
        except OSError as error:
            found[text] = errno.errorcode[error.errno]
    return found

def context():
    with open("/proc/thread-self/attr/current") as file:
        return file.read().rstrip("\\0")

@MORE@
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(SEEN).encode()]
"""


def hostile(name: str, more: str) -> Path:
    return site.script(name, SOURCE.replace("@MORE@", more))


@pytest.fixture
def warm() -> Iterator[Selcgi]:
    with serving(text=rules("warm=wsgi")) as running:
        yield running


def all_refused(answer: Answer, tries: dict[str, tuple[str, str, str]], avcs: Claims) -> None:
    """The answer is SEEN, of an interpreter that was still in the zygote's domain."""
    assert answer.status == 200, answer.text
    context, seen = json.loads(answer.text)
    assert context == "system_u:system_r:user_zygote_t:s0"
    assert {text: end for text, end in seen.items() if end not in ("EACCES", "EPERM")} == {}
    assert set(seen) == set(tries)
    for target, classname, permission in dict.fromkeys(tries.values()):
        avcs.expect("user_zygote_t", target, classname, permission)


def test_module_level_code_reads_code_and_nothing_else(warm: Selcgi, avcs: Claims) -> None:
    path = hostile("loading.wsgi", f"SEEN = [context(), tried({list(TRIES)!r})]")
    all_refused(run_as(warm, path, "alice"), TRIES, avcs)


def test_a_child_before_it_moves_has_what_it_was_lent_and_no_more(warm: Selcgi, avcs: Claims) -> None:
    tries = TRIES | LENT
    hook = f"""
SEEN = []
os.register_at_fork(after_in_child=lambda: SEEN.extend([context(), tried({list(tries)!r})]))
"""
    all_refused(run_as(warm, hostile("forking.wsgi", hook), "alice"), tries, avcs)


def test_a_child_that_moves_elsewhere_is_not_believed(warm: Selcgi, avcs: Claims) -> None:
    """Among the users of its own application the policy can't tell who is right: the worker looks for itself."""
    hook = "SEEN = []\nos.register_at_fork(after_in_child=lambda: write('current', 'user_webapp_t:s0:c2'))\n"
    answer = run_as(warm, hostile("moving.wsgi", hook), "alice")
    assert answer.status == 503, answer.text
    assert "context" not in answer.text
    entry = warm.entry()
    assert entry["context"] == site.context_of("alice")
    assert (entry["step"], entry["exit"]) == ("zygote", "")
    assert all((entry["reason"], entry["fix"])), entry
    avcs.expect("user_webapp_t", "selcgi_t", "unix_stream_socket", "getattr")
