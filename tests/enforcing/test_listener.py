"""The denial listener in its own domain: what it may, what it may not, and what it tells whom."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt
from tests.enforcing.conftest import Claims
from tests.enforcing.listening import DOMAIN, SOCKET, Listening, in_its_domain, listening
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

# A peer in selcgi_t that prints what it is told, a line each; it says when it is connected.
PEER = f"""#!/opt/selcgi/bin/python -I
import socket
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect({str(SOCKET)!r})
assert peer.recv(4096) == b"hello"
print("connected", flush=True)
while packet := peer.recv(4096):
    print(packet.decode(), flush=True)
"""
CONNECT = f"""#!/opt/selcgi/bin/python -I
import socket
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.settimeout(10)
peer.connect({str(SOCKET)!r})
print(peer.recv(4096))
"""


@pytest.fixture
def listener() -> Iterator[Listening]:
    with listening() as running:
        yield running


@pytest.fixture
def told(listener: Listening) -> Iterator[Path]:
    """A file with what a peer in selcgi_t was told."""
    assert listener.context() == DOMAIN
    program = site.write(Path("/opt/selcgi/bin/peer"), PEER, 0o755, "selcgi_exec_t:s0")
    heard = Path("/run/told")
    line = f"{' '.join(site.as_service()[:-1])} {program} | cat > {heard}"
    with subprocess.Popen(["bash", "-c", line], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until("the peer is connected", lambda: heard.exists() and "connected" in heard.read_text())
            yield heard
        finally:
            listener.kill()
            process.wait(10)
            program.unlink()
            heard.unlink()


def packets(heard: Path) -> list[dict[str, object]]:
    whole = heard.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()[1:]]


def test_it_has_one_capability_and_its_own_domain(listener: Listening) -> None:
    assert listener.process is not None
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    found = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {found[name] for name in ("CapEff", "CapBnd", "CapPrm")} == {f"{1 << 37:016x}"}
    assert listener.context() == DOMAIN


def test_its_domain_can_do_nothing_else(selcgi: Selcgi, avcs: Claims) -> None:
    assert selcgi.process is not None
    worker, alices = selcgi.workers()[0], site.OWN["alice"][0]
    for path in ("/run/other", "/srv/cgi/x.cgi"):
        site.write(Path(path), "#!/bin/sh\n", 0o777)
    refused = [
        "open('/etc/passwd')",
        f"open({str(site.PROOF)!r})",
        f"open({str(site.MAP)!r})",
        f"open({str(alices)!r})",
        "open('/srv/cgi/x.cgi')",
        f"open('/proc/{worker}/environ')",
        f"open('/proc/{worker}/attr/exec', 'w')",
        f"open('/proc/{worker}/status')",
        "os.listdir('/proc')",
        "open('/run/other', 'w')",
        "open('/tmp/new', 'w')",
        "open('/run/selcgi/new', 'w')",
        "os.unlink('/run/other')",
        "os.mkdir('/tmp/new')",
        "os.write(os.open('/sys/fs/selinux/enforce', os.O_WRONLY), b'0')",
        "os.write(os.open('/proc/self/attr/exec', os.O_WRONLY), b'system_u:system_r:selcgi_t:s0')",
        "socket.socket(socket.AF_INET)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        f"socket.socket(socket.AF_UNIX).connect({str(selcgi.socket)!r})",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "os.execv('/usr/bin/true', ['true'])",
        f"os.kill({worker}, 9)",
        f"os.kill({os.getpid()}, 15)",
        "os.setuid(1)",
        "os.chroot('/')",
    ]
    found = dict(zip(refused, in_its_domain(*refused), strict=True))
    assert {what: how for what, how in found.items() if how not in ("EACCES", "EPERM")} == {}
    assert avcs.claim_all_of("selcgi_avc_t")
    assert in_its_domain("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1))") == ["ok"]
    for path in ("/run/other", "/srv/cgi/x.cgi"):
        Path(path).unlink()


def test_it_may_send_nothing_to_the_kernels_audit(avcs: Claims) -> None:
    """Neither a record nor an order: AUDIT_USER (1005) and AUDIT_SET (1001)."""
    for kind in (1005, 1001):
        message = f"bytes([16, 0, 0, 0]) + ({kind}).to_bytes(2, 'little') + bytes([5, 0]) + bytes(8)"
        sock = "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)"
        assert in_its_domain(f"{sock}.sendto({message}, (0, 0))") == ["EACCES"]
    avcs.claim_all_of("selcgi_avc_t")


def test_it_tells_what_concerns_selcgi_and_nothing_of_others(told: Path, selcgi: Selcgi, avcs: Claims) -> None:
    """The mark of the kernel's log is a refusal of initrc_t: nobody's business here."""
    bobs = site.OWN["bob"][0]
    assert attempt(selcgi, "alice", f"open({str(bobs)!r})") == ["EACCES"]
    denied = avcs.expect("user_webapp_t", "user_webapp_rw_t", "file", "read")
    wait_until("it is told", lambda: packets(told))
    avcs.collect()  # sets another mark
    assert attempt(selcgi, "alice", f"open({str(bobs)!r}, 'a')") == ["EACCES"]
    wait_until("the second is told", lambda: len(packets(told)) > 1)
    avcs.claim_all_of("user_webapp_t")
    found = packets(told)
    assert {one["source"] for one in found} == {site.context_of("alice")}
    assert (found[0]["pid"], found[0]["permissions"], found[0]["classname"]) == (denied.pid, ["read"], "file")
    assert found[0]["fields"]["name"] == bobs.name  # type: ignore[index]
    assert found[0]["permissive"] is False


def test_it_serves_nobody_but_selcgi(listener: Listening, avcs: Claims) -> None:
    """A script may not even connect; who may, by a policy of others, is turned away."""
    words = ["/opt/selcgi/bin/python", "-c", CONNECT]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # initrc_t
    assert done.stdout == "b''\n" or "PermissionError" in done.stderr, done.stderr
    with site.serving() as selcgi:
        code = f"socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(SOCKET)!r})"
        assert attempt(selcgi, "alice", code) == ["EACCES"]
    avcs.claim_all_of("user_webapp_t")
    avcs.claim_all_of("initrc_t")
    assert listener.process is not None
    assert listener.process.poll() is None
