"""selcgi, fcgiwrap and lighttpd's mod_cgi side by side, with the same scripts, under wrk. Prints ratios.

Decides fairness: one nginx in front of the first two, which keeps its connections to both as contrib/nginx has it, the
same number of processors for all, the runs of the three interleaved in rounds, so that a busy moment of the machine
hits all alike. Absolute numbers mean nothing; a ratio is the middle one of the rounds. Called by tests/bench/compare,
as root.
"""

import argparse
import contextlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.conftest import cgroup2
from tests.servers import free_port
from tests.stack import TREE, wait_until

C = '#include <stdio.h>\nint main(void){puts("Content-Type: text/plain\\r\\n\\r\\nhello");return 0;}\n'
SCRIPTS = {
    "sh": "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nhello\\n'\n",
    "python": "#!/usr/bin/python3\nprint('Content-Type: text/plain\\r\\n\\r\\nhello')\n",
}
USER = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
_LONE = 40  # requests, for a median
RULES = "__anonymous__ anon_webapp_t:s0\n"


def scripts(folder: Path) -> list[Path]:
    """static C, sh, python."""
    cgi = folder / "cgi"
    cgi.mkdir(mode=0o755)
    (folder / "c.c").write_text(C)
    subprocess.run(["gcc", "-O2", "-static", "-o", cgi / "c.cgi", folder / "c.c"], check=True)
    for name, text in SCRIPTS.items():
        (cgi / f"{name}.cgi").write_text(text)
        (cgi / f"{name}.cgi").chmod(0o755)
    return [cgi / f"{name}.cgi" for name in ("c", *SCRIPTS)]


@contextlib.contextmanager
def running(words: list[str | Path], folder: Path, **options: object) -> Iterator[None]:
    with open(folder / "output", "ab") as output:
        process = subprocess.Popen([str(word) for word in words], stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def delegated() -> Iterator[Path]:
    """A cgroup as systemd would delegate it; whoever starts from `start` may use it."""
    base = cgroup2() / f"selcgi-bench-{os.getpid()}"
    (base / "start").mkdir(parents=True)
    for path in (base, *base.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    try:
        yield base
    finally:
        for inner in sorted(base.rglob("*/"), reverse=True):
            inner.rmdir()
        base.rmdir()


def selcgi_words(folder: Path, cgroup: Path, python: Path, fast: bool) -> list[str | Path]:
    mode = str(cgroup) if fast else "none"
    line = f"echo $$ > {cgroup}/start/cgroup.procs; exec " + " ".join(
        [*USER, f"env PYTHONPATH={TREE} PYTHONDONTWRITEBYTECODE=1 {python} {TREE}/bin/selcgi serve --selinux=off",
         f"--listen=unix:{folder}/run/selcgi.sock,mode=0666 --map={folder}/site.map --root={folder}/cgi",
         f"--cgroup={mode} --log-level=error"]
    )  # fmt: skip
    return ["sh", "-c", line]


def nginx_words(folder: Path, ports: dict[str, int]) -> list[str | Path]:
    params = TREE / "contrib" / "nginx" / "selcgi-params.conf"
    kept = "".join(
        f"upstream {name} {{ server unix:{folder}/run/{name}.sock; keepalive 8; keepalive_timeout 30s; }}\n"
        for name in ("selcgi", "fcgiwrap")
    )
    servers = "".join(
        f"server {{ listen 127.0.0.1:{ports[name]}; location / {{ include {params}; fastcgi_param SCRIPT_NAME $uri;"
        f' fastcgi_param SCRIPT_FILENAME {folder}/cgi$uri; fastcgi_param REMOTE_USER ""; '
        f"fastcgi_pass {name}; }} }}\n"
        for name in ("selcgi", "fcgiwrap")
    )
    text = f"pid {folder}/nginx.pid; worker_processes 1; events {{}}\nhttp {{ access_log off;\n{kept}{servers}}}\n"
    (folder / "nginx.conf").write_text(text)
    return ["/usr/sbin/nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log", "-g", "daemon off;"]


def lighttpd_words(folder: Path, ports: dict[str, int]) -> list[str | Path]:
    (folder / "lighttpd.conf").write_text(
        f'server.modules = ("mod_cgi")\nserver.port = {ports["lighttpd"]}\nserver.bind = "127.0.0.1"\n'
        f'server.username = "nobody"\nserver.groupname = "nogroup"\nserver.document-root = "{folder}/cgi"\n'
        'cgi.assign = (".cgi" => "")\n'
    )
    return ["/usr/sbin/lighttpd", "-D", "-f", folder / "lighttpd.conf"]


def rate(port: int, name: str, seconds: int) -> float:
    """Requests a second of 8 connections; an AssertionError when any failed."""
    url = f"http://127.0.0.1:{port}/{name}"
    done = subprocess.run(["wrk", "-t1", "-c8", f"-d{seconds}", url], capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    return next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("Requests/sec"))


def measure(ports: dict[str, int], names: list[str], rounds: int, seconds: int) -> None:
    print(f"{'script':<8} {'selcgi/s':>9} {'fcgiwrap/s':>11} {'lighttpd/s':>11}   to fcgiwrap  to lighttpd mod_cgi")
    for name in names:
        rows = [{who: rate(port, name, seconds) for who, port in ports.items()} for _ in range(rounds)]
        middle = {who: statistics.median(row[who] for row in rows) for who in ports}
        ratios = [statistics.median(row["selcgi"] / row[who] for row in rows) for who in ("fcgiwrap", "lighttpd")]
        rates = f"{middle['selcgi']:9.0f} {middle['fcgiwrap']:11.0f} {middle['lighttpd']:11.0f}"
        print(f"{name.removesuffix('.cgi'):<8} {rates}   {ratios[0]:11.2f}  {ratios[1]:19.2f}", flush=True)


def lone(port: int, name: str) -> float:
    """Milliseconds of one request, when there is no other and was none for a while."""
    time.sleep(0.05)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("GET", f"/{name}")
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - began
    connection.close()
    assert answer.status == 200, answer.status
    return took * 1000


def measure_lone(ports: dict[str, int], names: list[str]) -> None:
    print(f"\n{'script':<8} {'selcgi ms':>9} {'fcgiwrap ms':>11} {'lighttpd ms':>11}   to fcgiwrap  (a lone request)")
    for name in names:
        rows = [{who: lone(port, name) for who, port in ports.items()} for _ in range(_LONE)]
        middle = {who: statistics.median(row[who] for row in rows) for who in ports}
        times = f"{middle['selcgi']:9.2f} {middle['fcgiwrap']:11.2f} {middle['lighttpd']:11.2f}"
        print(f"{name.removesuffix('.cgi'):<8} {times}   {middle['selcgi'] / middle['fcgiwrap']:11.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--guard", action="store_true", help="selcgi without a delegated cgroup")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="one that user nobody may run")
    values = parser.parse_args()
    if subprocess.run([*USER, values.python, "-c", "import flup, click"], capture_output=True, check=False).returncode:
        print(f"compare: user nobody can't run {values.python} with selcgi's packages; give --python", file=sys.stderr)
        return 3
    folder = Path(tempfile.mkdtemp(prefix="selcgi-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "run").mkdir()
    shutil.chown(folder / "run", "nobody")
    (folder / "site.map").write_text(RULES)
    ports = {name: free_port() for name in ("selcgi", "fcgiwrap", "lighttpd")}
    names = [path.name for path in scripts(folder)]
    wrap: list[str | Path] = [*USER, "fcgiwrap", "-c", "8", "-s", f"unix:{folder}/run/fcgiwrap.sock"]
    try:
        with delegated() as cgroup, contextlib.ExitStack() as stack:
            lines: list[list[str | Path]] = [selcgi_words(folder, cgroup, values.python, not values.guard), wrap]
            lines += [nginx_words(folder, ports), lighttpd_words(folder, ports)]
            for line in lines:
                stack.enter_context(running(line, folder))
            wait_until("both sockets", lambda: len(list((folder / "run").glob("*.sock"))) == 2)
            (folder / "run" / "fcgiwrap.sock").chmod(0o666)
            time.sleep(1)
            measure(ports, names, values.rounds, values.seconds)
            measure_lone(ports, names)
    finally:
        subprocess.run(["pkill", "-f", f"{folder}/run/fcgiwrap.sock"], check=False)
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
