"""Real directories on this machine, each on a free loopback port with its data in a temporary folder: OpenLDAP and
PostgreSQL, with the Apaches of contrib/ that ask them.

Each runs in the foreground as a child, as its package's own user where root is not let, and is stopped by pid.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.foreground import Foreground
from tests.servers import CONTRIB, MODULES, PASSWORD, Apache, free_port, output
from tests.stack import wait_until

SECRET = "of-apache-alone"
People = Mapping[str, str | None]  # name -> what the directory says of the context; None: nothing
_BASE = MODULES.replace("authn_file ", "")


class Directory(Foreground):
    """Runs as `account`, to whom its folder belongs."""

    account = ""

    def __init__(self, folder: Path, people: People) -> None:
        super().__init__(folder / type(self).__name__.lower(), free_port())
        self.people = people
        shutil.chown(self.folder, self.account, self.account)

    def run(self, *words: str | Path, text: str = "") -> None:
        """A program of the directory's, to its end, as its user."""
        with open(self.folder / "output", "ab") as log:
            subprocess.run(
                [str(word) for word in words], input=text.encode(), stdout=log, stderr=log, check=True, timeout=120,
                **self.how(),
            )  # fmt: skip

    def how(self) -> dict[str, Any]:
        return {"cwd": self.folder, "user": self.account, "group": self.account, "extra_groups": []}


class OpenLdap(Directory):
    """slapd with the schema and the access rules that contrib/apache names."""

    account = "openldap"

    def line(self) -> list[str]:
        (self.folder / "data").mkdir()
        os.chown(self.folder / "data", self.folder.stat().st_uid, self.folder.stat().st_gid)
        (self.folder / "selcgi.schema").write_text((CONTRIB / "apache" / "selcgi.schema").read_text())
        schemas = [f"/etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson")]
        lines = [f"include {path}" for path in (*schemas, self.folder / "selcgi.schema")]
        lines += [f"pidfile {self.folder}/pid", "modulepath /usr/lib/ldap", "moduleload back_mdb"]
        lines += ["database mdb", 'suffix "dc=example,dc=org"', f"directory {self.folder}/data", "maxsize 16777216"]
        lines += ["access to attrs=userPassword by anonymous auth by * none"]
        lines += ['access to * by dn.exact="cn=apache,dc=example,dc=org" read by * none']
        path = self.folder / "slapd.conf"
        path.write_text("\n".join(lines) + "\n")
        self.run("/usr/sbin/slapadd", "-q", "-f", path, text=self._entries())
        return ["/usr/sbin/slapd", "-d", "0", "-h", f"ldap://127.0.0.1:{self.port}", "-f", str(path)]

    def _entries(self) -> str:
        top = "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n"
        unit = "dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n"
        apache = "dn: cn=apache,dc=example,dc=org\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\n"
        people = (
            f"dn: uid={name},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: selcgiPerson\n"
            f"uid: {name}\ncn: {name}\nsn: {name}\nuserPassword: {PASSWORD}\n"
            + (f"selcgiContext: {context}\n" if context is not None else "")
            for name, context in self.people.items()
        )
        return "\n".join([top, unit, f"{apache}cn: apache\nuserPassword: {SECRET}\n", *people])


class PostgreSql(Directory):
    """A cluster of its own, in which contrib/apache/selcgi-dbd.sql has been run."""

    account = "postgres"
    ends_by = signal.SIGINT  # fast shutdown: postgres(1)

    @property
    def _programs(self) -> Path:
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1].parent

    def line(self) -> list[str]:
        data = self.folder / "data"
        auth = ("--auth-local=peer", "--auth-host=scram-sha-256")
        self.run(self._programs / "initdb", "-D", data, *auth, "--no-sync", "--locale=C", "--encoding=UTF8")
        where = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        return [str(self._programs / "postgres"), "-D", str(data), *where, "-c", "fsync=off"]

    def started(self) -> None:
        psql = (self._programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port))
        wait_until("postgres takes a connection", self._ready)  # it listens sooner, and says no until it has started
        self.run(*psql, "-d", "postgres", text="CREATE DATABASE selcgi;")
        sql = (CONTRIB / "apache" / "selcgi-dbd.sql").read_text()
        crypted = output(["openssl", "passwd", "-apr1", PASSWORD])
        for name, context in self.people.items():
            value = "NULL" if context is None else f"'{context}'"
            sql += f"INSERT INTO accounts VALUES ('{name}', '{crypted}', {value});\n"
        self.run(*psql, "-v", f"password={SECRET}", "-d", "selcgi", text=sql)

    def _ready(self) -> bool:
        words = (self._programs / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port))
        return subprocess.run(words, check=False).returncode == 0


class _ApacheAsking(Apache):
    """A file of contrib/apache with the port of its directory, and the password that Apache asks it by."""

    kind = ""
    directory_port = 0

    def site(self) -> str:
        self.write(f"selcgi-{self.kind}-password.conf", f"Define SELCGI_{self.kind.upper()}_PASSWORD {SECRET}\n")
        text = self._localized((CONTRIB / "apache" / f"selcgi-{self.kind}.conf").read_text())
        for usual in ("127.0.0.1:389", "port=5432"):
            text = text.replace(usual, usual.rstrip("0123456789") + str(self.directory_port))
        return text.replace("<VirtualHost *:80>", f"<VirtualHost 127.0.0.1:{self.port}>")


class ApacheLdap(_ApacheAsking):
    name = "apache ldap"
    kind = "ldap"
    modules = f"{_BASE} ldap authnz_ldap"
    param = "AUTHENTICATE_SELCGICONTEXT"


class ApacheDbd(_ApacheAsking):
    name = "apache dbd"
    kind = "dbd"
    modules = f"{_BASE} dbd authn_dbd"
    param = "AUTHENTICATE_UDOMAIN"
