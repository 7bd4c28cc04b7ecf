"""The inside of bin/demo: runs in the guest, in enforcing mode. Exit 0 when every cell is as the mapping says.

Decides the order: site, selcgi as a service would start it, web server, one request after the other with the denials
each caused, table, verdict. With --permissive the webapp domains are made permissive first: then every access must
succeed, and the exit code is 1, since the mapping promised otherwise.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.demo.requests import ASKING, OTHER, PORT, PROBES, Row, ask_through
from tests.demo.table import judge, show, verdict
from tests.enforcing import site
from tests.enforcing.delegation import CGROUP, delegate
from tests.enforcing.kernellog import KernelLog
from tests.enforcing.web import WebServer
from tests.stack import Selcgi, wait_until

SCRIPTS = Path(__file__).resolve().parent / "scripts"


def install() -> None:
    """The four probes, that in Python once more to run warm, and one that stays until it is ended."""
    for name in ("probe.sh", "probe.pl", "probe.py"):
        site.script(name, (SCRIPTS / name).read_text())
    site.script("warm.py", (SCRIPTS / "probe.py").read_text())
    site.run("setsebool", "selcgi_webapp_warm", "on")
    site.run(shutil.which("tcc") or "gcc", "-o", site.CGI / "probe.c", SCRIPTS / "probe.c")
    site.run("restorecon", "-F", site.CGI / "probe.c")
    site.script(
        "victim.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho $$ > $QUERY_STRING\nexec sleep 600\n"
    )


@contextlib.contextmanager
def listener() -> Iterator[None]:
    """Somebody on PORT, so that nothing but the policy can refuse a connection."""
    with socket.create_server(("127.0.0.1", PORT)):
        yield


@contextlib.contextmanager
def victims(web: WebServer) -> Iterator[dict[str, int]]:
    """A running script of alice and one of bob: user -> pid."""
    running, pids = [], {}
    for user in ("alice", "bob"):
        own, label = site.OWN[user]
        place = site.write(own.with_name(f"{user}.pid"), "", 0o666, label)
        running.append(subprocess.Popen(web.curl(f"victim.cgi?{place}", user), stdout=subprocess.DEVNULL))
        wait_until(f"{user}'s running script", place.read_text)
        pids[user] = int(place.read_text())
    try:
        yield pids
    finally:
        for one in running:
            one.kill()
            one.wait()


def make_permissive() -> None:
    """What an administrator must not do. Takes some seconds: semodule compiles the whole policy."""
    lines = "".join(f"(typepermissive {name})" for name in ("user_webapp_t", "staff_webapp_t", "anon_webapp_t"))
    Path("/run/permissive.cil").write_text(lines)
    site.run("semodule", "-i", "/run/permissive.cil")


def all_rows(web: WebServer, selcgi: Selcgi, log: KernelLog) -> Iterator[Row]:
    with listener(), victims(web) as pids:
        for user in ASKING:
            for probe in PROBES:
                yield ask_through(web, selcgi, log, user, probe, pids[OTHER[user]])


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.demo")
    parser.add_argument("--permissive", action="store_true")
    parser.add_argument("--front", choices=["nginx", "apache"], default="nginx")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--colour", action="store_true")
    values = parser.parse_args()
    began = time.monotonic()
    log = KernelLog()  # from here on, so that the first row also answers for what the start of it all was denied
    site.prepare()
    install()
    if values.permissive:
        make_permissive()
    mode = ("--selinux=permissive-ok",) if values.permissive else ()
    delegate()  # as the unit's Delegate=yes: warm interpreters need a cgroup of selcgi's own
    warm = (f"--warm={site.CGI}/warm.py", f"--cgroup={CGROUP}")
    with site.serving(*mode, *warm, identity="proof:/etc/selcgi/proof") as selcgi, WebServer(values.front) as web:
        rows = list(all_rows(web, selcgi, log))
        show(rows, values.colour)
        wrong = judge(rows)
        for line in wrong:
            print(line)
        print(f"{len(rows)} requests through {values.front}, {len(wrong)} of their cells not as the mapping says, "
              f"{time.monotonic() - began:.0f} s in the guest")  # fmt: skip
        print(verdict(rows, wrong), flush=True)
        if values.keep:
            keep()
    late = [] if values.keep else [avc for avc in log.denials() if not avc.permissive]
    for avc in late:
        print(f"WRONG: a denial at the end of it all: {avc}")
    return 1 if wrong or late else 0


def keep() -> None:
    """Everything stays up while the user looks around."""
    url = f"-u alice:{site.PASSWORD} http://127.0.0.1/cgi-bin/probe.py"
    print(f"All of it is still running: try ps -eZ, curl {url}, ls -Z /srv/data/user", flush=True)
    subprocess.run(["bash", "--norc", "-i"], env={**os.environ, "PS1": "demo# "}, check=False)


if __name__ == "__main__":
    sys.exit(main())
