"""The launchers of CGI scripts that are compared, each as its manual says it is run at its best.

Decides the configuration of each: as many scripts at once as `at_once`, no log of requests, user nobody. Those that are
no web server are behind one nginx, which keeps its connections. Left out: multiwatch (it starts fcgiwrap), mini-httpd,
thttpd, h2o and busybox (web servers for files that can do CGI, too, with a process for each connection, or by way of
perl). It starts nothing: that is running.py's. Called by tests/bench.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import scripts
from tests.bench.place import AS_USER, GROUP, USER, Place
from tests.servers import free_port
from tests.stack import TREE

_MODULES = Path("/usr/lib/apache2/modules")
Address = str | tuple[str, int]  # of a UNIX or a TCP socket


RULES = "__anonymous__ anon_webapp_t:s0\n"
AT_ONCE = 64  # scripts, in those that need to know


class Contestant:
    """One launcher. `programs` are what it needs, as for install_host_programs; `front`: the socket nginx is to use."""

    name = ""
    programs: Mapping[str, str] = {}
    kind = "direct"  # or the protocol that nginx speaks to it
    splits = ""  # the key of PASS when nginx is to say where the script's path ends

    def __init__(self, place: Place, at_once: int = AT_ONCE) -> None:
        self.place, self.at_once = place, at_once
        self.port = free_port()
        self.folder = place.folder / self.slug
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.cgroup = place.cgroup / self.slug

    @property
    def slug(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def socket(self) -> Path:
        return self.place.folder / "run" / f"{self.slug}.sock"

    def addresses(self) -> list[Address]:
        """Where it listens once it has started."""
        return [("127.0.0.1", self.port) if self.kind == "direct" else str(self.socket)]

    def words(self) -> Sequence[str | Path]:
        """The command; what it reads is written by then."""
        raise NotImplementedError

    def url(self, script: str) -> str:
        return f"http://127.0.0.1:{self.port}{scripts.path(script)}"

    def takes(self, script: scripts.Script) -> bool:  # noqa: ARG002 - some take not all
        return True

    def built(self) -> bool:
        """False: this tree has no such thing, so that it can't be measured."""
        return True

    def said(self) -> str:
        """The end of its output."""
        return (self.folder / "output").read_text(errors="replace")[-2000:]

    def file(self, name: str, text: str) -> Path:
        return self.place.file(f"{self.slug}/{name}", text)


class Selcgi(Contestant):
    name = "selcgi"
    kind = "fastcgi"
    identity = ""  # of the listener

    def tree(self) -> Path:
        return self.place.tree

    def rules(self) -> str:
        return RULES

    def options(self) -> tuple[str, ...]:
        return (f"--cgroup={self.cgroup}", f"--concurrent-user={max(768, self.at_once)}")

    def words(self) -> Sequence[str | Path]:
        tree = self.tree()
        line = ("env", f"PYTHONPATH={tree}", "PYTHONDONTWRITEBYTECODE=1", self.place.python, tree / "bin" / "selcgi")
        shared = (
            "serve",
            "--selinux=off",
            f"--listen=unix:{self.socket},mode=0666{self.identity}",
            f"--root={self.place.cgi}",
        )
        rules = self.file("site.map", self.rules())
        return (*AS_USER, *line, *shared, f"--map={rules}", "--log-level=error", *self.options())


class SelcgiWarm(Selcgi):
    name = "selcgi warm"

    def rules(self) -> str:
        warm = [one for one in scripts.SCRIPTS if one.warm]
        return "".join(
            f"__anonymous__ anon_webapp_t:s0 script={self.place.cgi}/{one.name}.cgi warm={one.warm}\n" for one in warm
        )

    def options(self) -> tuple[str, ...]:
        """What a script imports can be loaded before its request only by name; an application loads its own."""
        return (*super().options(), *(f"--preload={module}" for module in scripts.MODULES))

    def takes(self, script: scripts.Script) -> bool:
        return bool(script.warm)

    def built(self) -> bool:
        words = (self.place.python, self.place.tree / "bin" / "selcgi", "serve", "--help")
        known = "--warm" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return known and (self.place.tree / "bin" / "selcgi-zygote").exists()


class Fcgiwrap(Contestant):
    name = "fcgiwrap"
    programs = {"fcgiwrap": "fcgiwrap"}
    kind = "fastcgi"
    splits = "fastcgi split"

    def words(self) -> Sequence[str | Path]:
        line = (*AS_USER, "/usr/sbin/fcgiwrap", "-c", str(self.at_once), "-s", f"unix:{self.socket}")
        return ("sh", "-c", f"umask 0; exec {shlex.join(map(str, line))}")


class Lighttpd(Contestant):
    name = "lighttpd mod_cgi"
    programs = {"lighttpd": "lighttpd"}

    def words(self) -> Sequence[str | Path]:
        text = (
            f'server.modules = ("mod_cgi")\nserver.port = {self.port}\nserver.bind = "127.0.0.1"\n'
            f'server.username = "{USER}"\nserver.groupname = "{GROUP}"\nserver.document-root = "{self.place.cgi}"\n'
            'cgi.assign = (".cgi" => "")\nserver.max-fds = 16384\nserver.max-connections = 4096\n'
        )
        return ("/usr/sbin/lighttpd", "-D", "-f", self.file("lighttpd.conf", text))


class Apache(Contestant):
    name = "Apache mod_cgid"
    programs = {"apache2": "apache2"}

    def words(self) -> Sequence[str | Path]:
        loads = "".join(
            f"LoadModule {name}_module {_MODULES}/mod_{name}.so\n" for name in ("mpm_event", "authz_core", "cgid")
        )
        threads = 2 * max(
            AT_ONCE, self.at_once
        )  # of connections that it keeps, it closes some when all threads are busy
        text = (
            f"ServerRoot {self.folder}\nServerName localhost\nPidFile {self.folder}/pid\nErrorLog {self.folder}/error\n"
            f"Listen 127.0.0.1:{self.port}\n{loads}Mutex posixsem\nUser {USER}\nGroup {GROUP}\nLogLevel crit\n"
            f"ScriptSock {self.folder}/cgid.sock\nDocumentRoot {self.place.cgi}\nKeepAlive On\nMaxKeepAliveRequests 0\n"
            f"ServerLimit 1\nStartServers 1\nThreadLimit {threads}\nThreadsPerChild {threads}\n"
            f"MaxRequestWorkers {threads}\nMinSpareThreads 1\nMaxSpareThreads {threads}\nCGIDScriptTimeout 60\n"
            f"<Directory {self.place.cgi}>\nOptions ExecCGI\nSetHandler cgi-script\nRequire all granted\n</Directory>\n"
        )
        return ("/usr/sbin/apache2", "-f", self.file("apache.conf", text), "-D", "FOREGROUND")


class Uwsgi(Contestant):
    name = "uWSGI cgi"
    programs = {"uwsgi-core": "uwsgi-core"}
    kind = "uwsgi"

    def words(self) -> Sequence[str | Path]:
        processes = (
            self.at_once if self.at_once > AT_ONCE else 8
        )  # each request wakes all that wait: with 64, a third slower
        line = f"uwsgi-core --plugins=cgi --socket={self.socket} --chmod-socket=666 --cgi=/={self.place.cgi}"
        more = f"--processes={processes} --master --disable-logging --listen=1024 --uid={USER} --gid={GROUP}"
        return (*line.split(), *more.split(), "--cgi-optimize", "--cgi-close-stdin-on-eof", "--die-on-term")


CONTESTANTS: tuple[type[Contestant], ...] = (Selcgi, SelcgiWarm, Fcgiwrap, Lighttpd, Apache, Uwsgi)
NAMES = tuple(kind.name for kind in CONTESTANTS)
PASS = {
    "fastcgi": "include {params}; fastcgi_param SCRIPT_NAME $uri; fastcgi_param SCRIPT_FILENAME {cgi}$uri; "
    "fastcgi_param REMOTE_USER $arg_user; fastcgi_pass {name};",
    "fastcgi split": "include {params}; fastcgi_split_path_info ^(/[^/]+)(/.*)?$; "
    "fastcgi_param REMOTE_USER $arg_user; fastcgi_param SCRIPT_NAME $fastcgi_script_name; "
    "fastcgi_param SCRIPT_FILENAME {cgi}$fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info; "
    "fastcgi_pass {name};",
    "uwsgi": "uwsgi_modifier1 9; include {params}; uwsgi_param PATH_INFO $uri; uwsgi_pass {name};",
}


class Front(Contestant):
    """nginx, in front of those that are no web server."""

    name = "nginx"
    programs = {"nginx": "nginx-light"}

    def __init__(self, place: Place, behind: Sequence[Contestant]) -> None:
        super().__init__(place, 0)
        self.behind = behind

    def addresses(self) -> list[Address]:
        return [("127.0.0.1", one.port) for one in self.behind]

    def words(self) -> Sequence[str | Path]:
        kept = "".join(
            f"upstream {one.slug} {{ server unix:{one.socket}; keepalive {one.at_once}; }}\n" for one in self.behind
        )
        servers = "".join(map(self._server, self.behind))
        temporary = " ".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "fastcgi", "proxy", "uwsgi", "scgi")
        )
        text = (
            f"pid {self.folder}/pid; worker_processes 1; worker_rlimit_nofile 16384; user {USER} {GROUP};\n"
            f"events {{ worker_connections 8192; }}\nhttp {{ access_log off; keepalive_requests 1000000; {temporary}\n"
            f"{kept}{servers}}}\n"
        )
        path = self.file("nginx.conf", text)
        return ("/usr/sbin/nginx", "-c", path, "-e", self.folder / "error.log", "-g", "daemon off;")

    def _server(self, one: Contestant) -> str:
        params = TREE / "contrib" / "nginx" / "selcgi-params.conf"
        if one.kind == "uwsgi":
            text = params.read_text().replace("fastcgi_keep_conn on;\n", "").replace("fastcgi_", "uwsgi_")
            params = self.file("uwsgi-params.conf", text)
        location = PASS[one.splits or one.kind].format(params=params, cgi=self.place.cgi, name=one.slug)
        return f"server {{ listen 127.0.0.1:{one.port}; location / {{ {location} }} }}\n"
