"""The denial listener as its unit starts it, where systemd is not PID 1: a user of no account, one capability, its
socket made beforehand in its own domain. Runs as root in initrc_t. Used by tests/enforcing.
"""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.enforcing import site
from tests.stack import wait_until

PROGRAM = Path("/opt/selcgi/bin/selcgi-avc")
SOCKET = site.RUNTIME / "avc.sock"
DOMAIN = "system_u:system_r:selcgi_avc_t:s0"
_CAPABILITY = "audit_read"
_ENVIRON = ("env", "-i", "PATH=/usr/bin", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPYCACHEPREFIX={site.BYTECODE}")


class Listening:
    """Its process, which may be killed and started again; the socket stays, as systemd's would."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *python_path: str) -> None:
        words = [
            *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", f"--inh-caps=-all,+{_CAPABILITY}"),
            *(f"--ambient-caps=+{_CAPABILITY}", f"--bounding-set=-all,+{_CAPABILITY}", *_ENVIRON, *python_path),
        ]
        # sd_listen_fds(3)
        line = f"exec {' '.join(words)} LISTEN_PID=$$ LISTEN_FDS=1 {PROGRAM} 3<&{self._door.fileno()}"
        self.process = subprocess.Popen(
            ["bash", "-c", line],
            pass_fds=[self._door.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        wait_until("the listener is in its domain", lambda: self._ended() or self.context() == DOMAIN)
        assert not self._ended(), self.process.communicate()[0]

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def context(self) -> str:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/attr/current").read_text().rstrip("\0\n")

    def kill(self) -> None:
        """As by the oom killer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def make_door() -> socket.socket:
    """The listening socket of selcgi-avc.socket, labelled as systemd labels it: setsockcreatecon(3)."""
    site.RUNTIME.mkdir(exist_ok=True)
    SOCKET.unlink(missing_ok=True)
    _label_sockets(DOMAIN)
    try:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    finally:
        _label_sockets("\n")
    door.bind(str(SOCKET))
    SOCKET.chmod(0o660)
    shutil.chown(SOCKET, "selcgi", "root")
    site.run("restorecon", "-F", SOCKET)
    door.listen(16)
    return door


def _label_sockets(context: str) -> None:
    """Not by O_CREAT: Debian 12's policy lets nobody create a file there, and the kernel asks."""
    with open("/proc/thread-self/attr/sockcreate", "r+b", buffering=0) as attribute:
        attribute.write(context.encode())


@contextmanager
def listening() -> Iterator[Listening]:
    with make_door() as door:
        listener = Listening(door)
        try:
            listener.start()
            yield listener
        finally:
            if listener.process is not None:
                listener.kill()
            SOCKET.unlink(missing_ok=True)


def in_its_domain(*expressions: str) -> list[str]:
    """Each Python expression in selcgi_avc_t, as root with all capabilities: the policy alone refuses."""
    place = site.write(PROGRAM.with_name("avc-attempts"), _ATTEMPTS, 0o755, "selcgi_avc_exec_t:s0")
    try:
        done = subprocess.run([*_ENVIRON, str(place), *expressions], capture_output=True, text=True, check=False)
    finally:
        place.unlink()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_ATTEMPTS = """#!/opt/selcgi/bin/python -I
import errno, os, signal, socket, sys
for expression in sys.argv[1:]:
    try:
        eval(expression)
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        print("ok")
"""
