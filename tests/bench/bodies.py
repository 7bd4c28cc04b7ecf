"""Large bodies down and up: selcgi beside fcgiwrap, at their sockets and through one nginx. Prints ratios.

Decides fairness: the same scripts, client and nginx for both, one after the other in each round; a ratio is the middle
one of the rounds. Beside the time stands what a busy machine does not change: the server's own CPU, and its peak of
memory. The client does as little as a client can. Called by tests/bench/bodies, as root; measure() is for others too.
"""

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selcgi.wire.records import Kind, encode_pairs, encode_record
from tests.guest.host import end_on_sigterm
from tests.servers import CONTRIB, free_port
from tests.stack import Ask, Selcgi, wait_until

GIB = 1 << 30
SCRIPTS = {
    "down": "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\r\\n\\r\\n'\nexec cat {folder}/body\n",
    "up": "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec wc -c\n",
}
WAYS = ("socket", "nginx")
_BEGIN = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_RECORD = 32768  # bytes in a record of STDIN: nginx's
_AT_ONCE = 1 << 20
_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


@dataclass(frozen=True)
class Responder:
    """One of the two: its socket, its port of nginx, and the process that does its work."""

    name: str
    socket: Path
    port: int
    pid: Callable[[], int]


@dataclass(frozen=True)
class Result:
    """Of one body: seconds by the clock, the responder's own CPU seconds, its peak of memory so far in bytes."""

    seconds: float
    cpu: float
    peak: int


def measure(responder: Responder, way: str, script: Path, size: int) -> Result:
    """One body of `size` bytes, down or up as the script's name says; an AssertionError when not all of it came."""
    pid = responder.pid()
    before, began = _cpu(pid), time.perf_counter()
    if way == "socket":
        _by_socket(responder.socket, script, size)
    else:
        _by_nginx(responder.port, script, size)
    seconds = time.perf_counter() - began
    return Result(seconds, _cpu(pid) - before, _peak(pid))


def _cpu(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _by_socket(path: Path, script: Path, size: int) -> None:
    up = script.stem == "up"
    asked = Ask(str(script), method="POST" if up else "GET", params={"CONTENT_LENGTH": str(size if up else 0)})
    head = encode_record(Kind.BEGIN_REQUEST, 1, _BEGIN) + encode_record(Kind.PARAMS, 1, encode_pairs(asked.pairs()))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(head + encode_record(Kind.PARAMS, 1, b""))
        if up:
            _send(sock, encode_record(Kind.STDIN, 1, bytes(_RECORD)), size // _RECORD)
        sock.sendall(encode_record(Kind.STDIN, 1, b""))
        received, tail = _receive(sock)
    assert b"\x01\x03\x00\x01" in tail, "no END_REQUEST"
    _check(received, tail, up, size)


def _by_nginx(port: int, script: Path, size: int) -> None:
    up = script.stem == "up"
    method = f"POST /{script.name} HTTP/1.1\r\nContent-Length: {size}" if up else f"GET /{script.name} HTTP/1.1"
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"{method}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        if up:
            _send(sock, bytes(_RECORD), size // _RECORD)
        received, tail = _receive(sock)
    _check(received, tail, up, size)


def _send(sock: socket.socket, piece: bytes, times: int) -> None:
    many = piece * 32
    for _ in range(times // 32):
        sock.sendall(many)
    sock.sendall(piece * (times % 32))


def _receive(sock: socket.socket) -> tuple[int, bytes]:
    """How many bytes came until the end, and the last of them."""
    room, tail, received = memoryview(bytearray(_AT_ONCE)), b"", 0
    while size := sock.recv_into(room):
        received += size
        tail = (tail + room[max(0, size - 512) : size])[-512:]
    return received, tail


def _check(received: int, tail: bytes, up: bool, size: int) -> None:
    assert (b"%d\n" % size in tail) if up else (received >= size), f"{received} bytes came, ending in {tail!a}"


def _scripts(folder: Path, size: int) -> dict[str, Path]:
    (folder / "cgi").mkdir()
    with open(folder / "body", "wb") as body:
        body.truncate(size)
    subprocess.run(["cat", folder / "body"], stdout=subprocess.DEVNULL, check=True)  # from now on in the page cache
    made = {}
    for name, text in SCRIPTS.items():
        made[name] = folder / "cgi" / f"{name}.cgi"
        made[name].write_text(text.format(folder=folder))
        made[name].chmod(0o755)
    return made


def _nginx(folder: Path, responders: list[Responder]) -> list[str]:
    params = (CONTRIB / "nginx" / "selcgi-params.conf").read_text().replace("1g;", "0;")
    (folder / "params.conf").write_text(params)
    upstreams = "".join(
        f"upstream {one.name} {{ server unix:{one.socket}; keepalive 8; keepalive_timeout 30s; }}\n"
        for one in responders
    )
    servers = "".join(
        f"server {{ listen 127.0.0.1:{one.port}; location / {{ include params.conf; fastcgi_param SCRIPT_NAME $uri;"
        f' fastcgi_param SCRIPT_FILENAME {folder}/cgi$uri; fastcgi_param REMOTE_USER "";'
        f" fastcgi_pass {one.name}; }} }}\n"
        for one in responders
    )
    head = f"pid {folder}/nginx.pid; worker_processes 1; events {{}}\nhttp {{ access_log off;\n"
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "fastcgi", "proxy", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"{head}{temporary}\n{upstreams}{servers}}}\n")
    return ["/usr/sbin/nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log", "-g", "daemon off;"]


@contextlib.contextmanager
def _running(words: list[str], sock: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        if sock is not None:
            wait_until(str(sock), sock.exists)
            sock.chmod(0o666)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def responders(folder: Path) -> Iterator[list[Responder]]:
    """selcgi and fcgiwrap with one process each, and nginx before them."""
    (folder / "run").mkdir()
    shutil.chown(folder / "run", "nobody")
    (folder / "site.map").write_text("__anonymous__ anon_webapp_t:s0\n")
    wrapped = folder / "run" / "fcgiwrap.sock"
    options = ["--selinux=off", f"--map={folder}/site.map", f"--root={folder}/cgi", "--script-user=nobody"]
    selcgi = Selcgi(folder, *options, "--workers=1", "--timeout=900", f"--max-body={8 * GIB}")
    with contextlib.ExitStack() as stack:
        wrap = stack.enter_context(_running([*_NOBODY, "fcgiwrap", "-s", f"unix:{wrapped}"], wrapped))
        stack.enter_context(selcgi)
        made = [
            Responder("selcgi", selcgi.socket, free_port(), lambda: selcgi.workers()[0]),
            Responder("fcgiwrap", wrapped, free_port(), lambda: wrap.pid),
        ]
        stack.enter_context(_running(_nginx(folder, made)))
        wait_until("nginx", lambda: socket.socket().connect_ex(("127.0.0.1", made[0].port)) == 0)
        yield made


def compare(way: str, script: Path, made: list[Responder], size: int, rounds: int) -> dict[str, float]:
    """Medians of the interleaved rounds, and the middle ratio of fcgiwrap's time and CPU to selcgi's."""
    rows = [{one.name: measure(one, way, script, size) for one in made} for _ in range(rounds)]
    found: dict[str, float] = {}
    for one in made:
        found[f"{one.name} s"] = statistics.median(row[one.name].seconds for row in rows)
        found[f"{one.name} cpu"] = statistics.median(row[one.name].cpu for row in rows)
        found[f"{one.name} MiB"] = max(row[one.name].peak for row in rows) / (1 << 20)
    found["ratio"] = statistics.median(row["fcgiwrap"].seconds / row["selcgi"].seconds for row in rows)
    found["ratio of cpu"] = statistics.median(row["fcgiwrap"].cpu / row["selcgi"].cpu for row in rows)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bodies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024, help="of a body")
    parser.add_argument("--way", choices=WAYS, action="append", help="default: both")
    parser.add_argument("--direction", choices=SCRIPTS, action="append", help="default: both")
    values = parser.parse_args()
    end_on_sigterm()
    size = values.mib << 20
    folder = Path(tempfile.mkdtemp(prefix="selcgi-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        scripts = _scripts(folder, size)
        with responders(folder) as made:
            for way in values.way or WAYS:
                for name in values.direction or SCRIPTS:
                    found = compare(way, scripts[name], made, size, values.rounds)
                    figures = "  ".join(f"{what} {figure:.2f}" for what, figure in found.items())
                    print(f"{values.mib} MiB {name:<4} {way:<6}  {figures}", flush=True)
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
