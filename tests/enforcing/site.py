"""The site that the tests and the demo run in the guest: data, scripts, mapping, selcgi as its service user.

Decides the layout once: all scripts run as one Unix user, and all data is open to everybody by its mode, so that only
SELinux can refuse. The configurations are those of contrib/. Runs as root in initrc_t; selcgi enters selcgi_t by its
label. Used by tests/enforcing and tests/demo.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.stack import Selcgi

TREE = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path("/opt/selcgi/bin/selcgi")
CGI = Path("/srv/cgi")
DATA = Path("/srv/data")
PUBLIC = Path("/srv/public/public.txt")
MAP = Path("/etc/selcgi/site.map")
PROOF = Path("/etc/selcgi/proof")
RUNTIME = Path("/run/selcgi")
BYTECODE = "/opt/selcgi/bytecode"
PASSWORD = "one-for-all"

# who -> context; nobody else has a rule
CONTEXTS = {
    "alice": "user_webapp_t:s0:c1",
    "bob": "user_webapp_t:s0:c2",
    "dora": "staff_webapp_t:s0",
    "": "anon_webapp_t:s0",
}
# own file of each, type and level; all in folders of mode 0777, all of mode 0666
OWN = {
    "alice": (DATA / "user" / "alice.txt", "user_webapp_rw_t:s0:c1"),
    "bob": (DATA / "user" / "bob.txt", "user_webapp_rw_t:s0:c2"),
    "dora": (DATA / "staff" / "dora.txt", "staff_webapp_rw_t:s0"),
    "": (DATA / "anon" / "anonymous.txt", "anon_webapp_rw_t:s0"),
}


def run(*words: str | Path, **options: object) -> str:
    """A program of the guest; its output. AssertionError with what it said when it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def context_of(user: str) -> str:
    return f"system_u:system_r:{CONTEXTS[user]}"


def rules() -> str:
    """The site's mapping; carol is not in it."""
    return "".join(f"{user or '__anonymous__'} {context}\n" for user, context in CONTEXTS.items())


def chcon(path: Path, label: str) -> None:
    """`label` is type:level."""
    os.setxattr(path, "security.selinux", f"system_u:object_r:{label}\0".encode())


def write(path: Path, text: str, mode: int = 0o644, label: str = "") -> Path:
    """A file with its mode, and the label that the policy gives its place, or this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    if label:
        chcon(path, label)
    else:
        run("restorecon", "-F", path)
    return path


def script(name: str, text: str, label: str = "") -> Path:
    return write(CGI / name, text, 0o755, label)


def make_proof() -> str:
    """The same for selcgi and the web server; made once."""
    if not PROOF.exists():
        write(PROOF, secrets.token_hex(32) + "\n", 0o640)
        shutil.chown(PROOF, "root", "selcgi")
    return PROOF.read_text().strip()


def prepare() -> None:
    """Lay out data, folders and the mapping; warm selcgi's bytecode, which selcgi_t itself may not write."""
    for path, label in OWN.values():
        write(path, f"private data of {path.stem}\n", 0o666, label)
        path.parent.chmod(0o777)
    write(PUBLIC, "public data\n", 0o666)
    PUBLIC.parent.chmod(0o777)
    CGI.mkdir(exist_ok=True)
    write(MAP, rules())
    make_proof()
    run("restorecon", "-RF", "/srv", MAP.parent)
    for path, label in OWN.values():
        chcon(path, label)
    run(PROGRAM.parent / "python", "-c", "import selcgi.cli.main", env={"PYTHONPYCACHEPREFIX": BYTECODE})


def as_service(*options: str) -> tuple[str, ...]:
    """The words that start the program as a service manager would: its own user, no capability, nothing inherited."""
    identity = ("--reuid=selcgi", "--regid=selcgi", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    environ = ("env", "-i", "PATH=/usr/bin", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPYCACHEPREFIX={BYTECODE}")
    return ("setpriv", *identity, *environ, *options, str(PROGRAM))


@contextmanager
def serving(*options: str, identity: str = "remote-user", environ: Mapping[str, str] | None = None) -> Iterator[Selcgi]:
    """The service, on its socket in /run/selcgi, with the site's mapping."""
    RUNTIME.mkdir(exist_ok=True)
    shutil.chown(RUNTIME, "selcgi", "selcgi")
    run("restorecon", "-RF", RUNTIME)
    extra = tuple(f"{name}={value}" for name, value in (environ or {}).items())
    with Selcgi(RUNTIME, f"--root={CGI}", *options, program=as_service(*extra), identity=identity) as selcgi:
        yield selcgi
