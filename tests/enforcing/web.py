"""nginx, Apache or HAProxy in the guest, with the files of contrib/ in place, in its domain by its label.

Decides only what contrib/ leaves to the administrator: accounts, and the proof on both sides. Used by the tests here
and by tests/demo.
"""

import shutil
import subprocess
from pathlib import Path

from tests.enforcing import site
from tests.stack import wait_until

ACCOUNTS = ("alice", "bob", "carol", "dora")


class WebServer:
    """A context manager: the server runs inside."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.errors = {
            "nginx": Path("/var/log/nginx/error.log"),
            "apache": Path("/var/log/apache2/error.log"),
            "haproxy": Path("/dev/null"),  # it knows no other place than syslog
        }[name]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WebServer":
        line = {"nginx": _nginx, "apache": _apache, "haproxy": _haproxy}[self.name]()
        self._process = subprocess.Popen(
            line,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(f"{self.name} on port 80", self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def curl(self, path: str, user: str = "", *options: str) -> list[str]:
        """The words of a curl that prints the body, a line end, and the status."""
        where = "cgi-bin" if user else "open"
        account = ["-u", f"{user}:{site.PASSWORD}"] if user else []
        return ["curl", "-sS", "-w", "\n%{http_code}", *account, *options, f"http://127.0.0.1/{where}/{path}"]

    def ask(self, path: str, user: str = "", *options: str) -> tuple[int, str]:
        """Status and body."""
        done = subprocess.run(self.curl(path, user, *options), capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} did not start:\n{self.errors.read_text()}"
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1/"], check=False).returncode == 0


def _passwords(path: Path) -> None:
    for number, name in enumerate(ACCOUNTS):
        create = ["-c"] if number == 0 else []
        site.run("htpasswd", *create, "-b", "-m", path, name, site.PASSWORD)
    shutil.chown(path, "root", "www-data")
    path.chmod(0o640)
    site.run("restorecon", "-F", path)


def _nginx() -> list[str]:
    etc = Path("/etc/nginx")
    contrib = site.TREE / "contrib" / "nginx"
    (etc / "sites-enabled" / "default").unlink(missing_ok=True)
    site.write(etc / "conf.d" / "selcgi.conf", (contrib / "selcgi.conf").read_text())
    site.write(etc / "selcgi.d" / "git.conf", (contrib / "git.conf").read_text())
    site.write(etc / "selcgi-params.conf", (contrib / "selcgi-params.conf").read_text())
    site.write(etc / "selcgi-proof.conf", f'fastcgi_param SELCGI_PROOF "{site.make_proof()}";\n', 0o600)
    _passwords(etc / "selcgi-passwords")
    return ["nginx", "-g", "daemon off;"]


def _apache() -> list[str]:
    etc = Path("/etc/apache2")
    site.run("a2enmod", "-q", "proxy", "proxy_fcgi", "auth_basic", "authn_file", "authz_user")
    site.run("a2dissite", "-q", "000-default")
    site.write(etc / "sites-enabled" / "selcgi.conf", (site.TREE / "contrib" / "apache" / "selcgi.conf").read_text())
    site.write(etc / "selcgi-proof.conf", f"Define SELCGI_PROOF {site.make_proof()}\n", 0o600)
    _passwords(etc / "selcgi-passwords")
    for folder in ("/run/apache2", "/run/lock/apache2", "/var/log/apache2"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    site.run("restorecon", "-RF", "/run/apache2", "/run/lock")
    return ["bash", "-c", ". /etc/apache2/envvars; exec apache2 -D FOREGROUND"]


def _haproxy() -> list[str]:
    path = Path("/etc/haproxy/haproxy.cfg")
    text = (site.TREE / "contrib" / "haproxy" / "selcgi.cfg").read_text()
    crypted = site.run("openssl", "passwd", "-5", site.PASSWORD).strip()
    users = "\n".join(f"    user {name} password {crypted}" for name in ACCOUNTS)
    site.write(path, text.replace("    user alice password $5$replace$this", users), 0o600)
    return ["env", f"SELCGI_PROOF={site.make_proof()}", "haproxy", "-db", "-f", str(path)]
