"""Real web servers on this machine, each on a free loopback port, in front of one selcgi socket.

Decides as little as it can: each runs its file of contrib/ with other paths, another port and its own accounts. They
run in the foreground as children and are stopped by pid.
"""

import re
import secrets
import shutil
import socket
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.foreground import Foreground
from tests.stack import TREE

CONTRIB = TREE / "contrib"
PASSWORD = "secret"
USERS = ("alice", "bob", "carol")
PROOF = "0123456789abcdef0123456789abcdef"
_ENV = shutil.which("env") or "env"
MODULES = "mpm_event authn_core authn_file authz_core authz_user auth_basic alias proxy proxy_fcgi setenvif"


def output(words: list[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def free_port() -> int:
    """By chance, so that tests beside one another hardly meet; below those that the kernel gives to any connection
    meanwhile (ip_local_port_range of ip(7))."""
    while True:
        port = 10_240 + secrets.randbelow(20_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class Server(Foreground):
    """`cgi` is the folder of scripts, `selcgi` the socket."""

    name = ""
    streams = False  # a script's output, as it comes
    streams_uploads = False

    def __init__(self, folder: Path, cgi: Path, selcgi: Path) -> None:
        super().__init__(folder / self.name.replace(" ", "-"), free_port())
        self.cgi, self.selcgi = cgi, selcgi

    def url(self, path: str, user: str = "") -> str:
        """Of a script, or of a path that begins with "/"."""
        place = "" if path.startswith("/") else "/cgi-bin/" if user else "/open/"
        return f"http://127.0.0.1:{self.port}{place}{path}"

    def curl(self, path: str, user: str = "", *options: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        account = ["-u", f"{user}:{PASSWORD}"] if user else []
        words = ["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code}", *account, *options, self.url(path, user)]
        return subprocess.run(words, capture_output=True, check=False, **more)

    def ask(self, path: str, user: str = "", *options: str, **more: Any) -> tuple[int, str]:
        """Status and body."""
        body, _, status = self.curl(path, user, *options, **more).stdout.rpartition(b"\n")
        return int(status), body.decode(errors="replace")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def _localized(self, text: str) -> str:
        """A file of contrib/ with this place's paths."""
        text = text.replace("/run/selcgi/selcgi.sock", str(self.selcgi)).replace("/srv/cgi", str(self.cgi))
        return re.sub(r"/etc/(nginx|apache2|lighttpd|haproxy|caddy)\b", str(self.folder), text)

    def _passwords(self) -> Path:
        path = self.folder / "selcgi-passwords"
        crypted = output(["openssl", "passwd", "-apr1", PASSWORD])
        path.write_text("".join(f"{name}:{crypted}\n" for name in USERS))
        path.chmod(0o644)
        return path


class Nginx(Server):
    name = "nginx"
    extra = ""  # of the server block

    def line(self) -> list[str]:
        self._passwords()
        (self.folder / "selcgi.d").mkdir()
        self.write("selcgi.d/extra.conf", self.extra)
        self.write("selcgi-params.conf", (CONTRIB / "nginx" / "selcgi-params.conf").read_text())
        self.write("selcgi-proof.conf", f'fastcgi_param SELCGI_PROOF "{PROOF}";\n')
        site = self.site()
        temporary = " ".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "fastcgi", "proxy", "uwsgi", "scgi")
        )
        head = f"pid {self.folder}/pid; error_log {self.folder}/error.log;\nevents {{}}\n"
        path = self.write("nginx.conf", f"{head}http {{ access_log off; {temporary}\n{site}\n}}\n")
        return ["/usr/sbin/nginx", "-c", str(path), "-e", f"{self.folder}/error.log", "-g", "daemon off;"]

    def site(self) -> str:
        site = self._localized((CONTRIB / "nginx" / "selcgi.conf").read_text())
        return site.replace("listen 80;", f"listen 127.0.0.1:{self.port};")


class Apache(Server):
    name = "apache"
    streams = streams_uploads = True
    modules = MODULES

    def line(self) -> list[str]:
        self._passwords()
        modules = Path("/usr/lib/apache2/modules")
        loads = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in self.modules.split()]
        loads.insert(-2, f"LoadModule authz_host_module {modules}/mod_authz_host.so")
        self.write("selcgi-proof.conf", f"Define SELCGI_PROOF {PROOF}\n")
        site = self.site()
        head = [f"ServerRoot {self.folder}", "ServerName localhost", f"PidFile {self.folder}/pid"]
        head += [
            f"Listen 127.0.0.1:{self.port}",
            f"ErrorLog {self.folder}/error.log",
            "User www-data",
            "Group www-data",
        ]
        path = self.write("apache.conf", "\n".join([*head, *loads, "Mutex posixsem", site]))
        return ["/usr/sbin/apache2", "-f", str(path), "-D", "FOREGROUND"]

    def site(self) -> str:
        site = self._localized((CONTRIB / "apache" / "selcgi.conf").read_text())
        return site.replace("<VirtualHost *:80>", f"<VirtualHost 127.0.0.1:{self.port}>")


class Lighttpd(Server):
    name = "lighttpd"

    def line(self) -> list[str]:
        self._passwords()
        self.write("selcgi-proof.conf", f'setenv.add-environment = ("SELCGI_PROOF" => "{PROOF}")\n')
        self.write("selcgi.conf", self._localized((CONTRIB / "lighttpd" / "selcgi.conf").read_text()))
        head = {"document-root": self.folder, "errorlog": self.folder / "error.log", "bind": "127.0.0.1"}
        lines = [f'server.{name} = "{value}"' for name, value in head.items()]
        lines += [f"server.port = {self.port}", f'server.upload-dirs = ("{self.folder}")', 'include "selcgi.conf"']
        path = self.write("lighttpd.conf", "\n".join(lines) + "\n")
        return ["/usr/sbin/lighttpd", "-D", "-f", str(path)]


class HAProxy(Server):
    name = "haproxy"
    streams = streams_uploads = True

    def line(self) -> list[str]:
        site = self.site()
        (example,) = [line for line in site.splitlines() if "user alice password" in line]
        crypted = output(["openssl", "passwd", "-5", PASSWORD])
        users = "\n".join(f"    user {name} password {crypted}" for name in USERS)
        site = site.replace(example, users).replace("bind :80", f"bind 127.0.0.1:{self.port}")
        path = self.write("haproxy.cfg", site)
        return [_ENV, f"SELCGI_PROOF={PROOF}", "/usr/sbin/haproxy", "-db", "-f", str(path)]

    def site(self) -> str:
        return self._localized((CONTRIB / "haproxy" / "selcgi.cfg").read_text())


class Caddy(Server):
    name = "caddy"
    streams = True

    def line(self) -> list[str]:
        hashed = output(["caddy", "hash-password", "--plaintext", PASSWORD])
        self.write("selcgi-passwords", "".join(f"{name} {hashed}\n" for name in USERS))
        site = self._localized((CONTRIB / "caddy" / "Caddyfile").read_text())
        site = site.replace("\n:80 {", f"\n{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{self.port} {{")
        path = self.write("Caddyfile", site)
        environ = [_ENV, f"HOME={self.folder}", f"SELCGI_PROOF={PROOF}"]
        return [*environ, "caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


SERVERS: tuple[type[Server], ...] = (Nginx, Apache, Lighttpd, HAProxy, Caddy)


class NginxUnkept(Nginx):
    """A connection to selcgi for each request."""

    name = "nginx unkept"

    def site(self) -> str:
        params = self.folder / "selcgi-params.conf"
        params.write_text(params.read_text().replace("fastcgi_keep_conn on;", ""))
        return super().site().replace("fastcgi_pass selcgi;", f"fastcgi_pass unix:{self.selcgi};")


class NginxStreaming(Nginx):
    """Uploads go to selcgi while they come, downloads to the client."""

    name = "nginx streaming"
    streams = streams_uploads = True
    extra = "fastcgi_request_buffering off; fastcgi_buffering off;"


class ApacheKept(Apache):
    name = "apache kept"

    def site(self) -> str:
        return super().site().replace("flushpackets=on", "flushpackets=on enablereuse=on")


class ApacheHandler(Apache):
    """As manuals have it: Apache finds the script itself, and must be let into its folder."""

    name = "apache handler"
    streams = False

    def site(self) -> str:
        kept = [line for line in super().site().splitlines() if not line.strip().startswith("ProxyPass ")]
        handler = (
            f"Alias /cgi-bin/ {self.cgi}/\nAlias /open/ {self.cgi}/\n<Directory {self.cgi}>\nRequire all granted\n"
            f'SetHandler "proxy:unix:{self.selcgi}|fcgi://localhost/"\n</Directory>\n</VirtualHost>'
        )
        return "\n".join(kept).replace("</VirtualHost>", handler)


class ApacheFcgid(Apache):
    """mod_fcgid starts its own selcgi, on the socket that is its stdin."""

    name = "apache mod_fcgid"
    streams = streams_uploads = False
    modules = f"{MODULES} fcgid"

    def site(self) -> str:
        self.write("selcgi-fcgid", f"#!/bin/sh\nexec {self._program()} {self._options()}\n").chmod(0o755)
        site = self._localized((CONTRIB / "apache" / "selcgi-fcgid.conf").read_text())
        head = f"FcgidIPCDir {self.folder}/fcgid\nFcgidProcessTableFile {self.folder}/fcgid-table\n"
        return head + site.replace("<VirtualHost *:80>", f"<VirtualHost 127.0.0.1:{self.port}>")

    def _options(self) -> str:
        site = f"--map {self.folder.parent}/site.map --root {self.cgi}"
        return f"serve --listen fd:0,identity=auth-type --workers 1 --selinux off --cgroup none {site}"

    def _program(self) -> str:
        """Where Apache's user may read it, which is not where the tests are."""
        place = self.folder / "program"
        for package in ("selcgi", "flup", "click"):
            found = find_spec(package)
            assert found is not None
            assert found.origin is not None
            shutil.copytree(Path(found.origin).parent, place / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(TREE / "bin", place / "bin")
        return f"/usr/bin/python3 -B {place}/bin/selcgi"


class HAProxyMultiplexed(HAProxy):
    """Several requests at once on one connection."""

    name = "haproxy multiplexed"

    def site(self) -> str:
        return (
            super()
            .site()
            .replace("option get-values", "option get-values\n    option mpxs-conns\n    option max-reqs 10")
            .replace("mode http", "mode http\n    http-reuse always")
        )


VARIANTS: tuple[type[Server], ...] = (
    Nginx, NginxUnkept, NginxStreaming, Apache, ApacheKept, ApacheHandler, ApacheFcgid,
    Lighttpd, HAProxy, HAProxyMultiplexed, Caddy,
)  # fmt: skip
