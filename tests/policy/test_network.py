"""No domain for scripts, as shipped, reaches anything by a socket: by the rules of the compiled policy, booleans off.

By rules and not by a trial: what a kernel asks for differs. Before June 2026 sendto(2) with MSG_FASTOPEN connected for
tcp_socket write alone, and the guest's kernel is newer.
"""

from pathlib import Path

import pytest

from tests.guest import policy
from tests.guest.fetch import command

pytestmark = pytest.mark.guest

WISH = ("create", "connect", "getattr", "getopt", "setopt", "shutdown", "ioctl")  # so that a denial names the port
OWN = {"unix_stream_socket", "unix_dgram_socket"}  # within the domain itself


def sockets() -> set[tuple[str, ...]]:
    program, binary = Path(__file__).with_name("sockets.py"), policy.compiled() / "policy"
    lines = command(["/usr/bin/python3", "-I", str(program), str(binary)], timeout=120).splitlines()
    return {tuple(line.split()) for line in lines}


def test_none_may_write_to_a_socket_of_the_network() -> None:
    own = {(classname, one) for source, target, classname, one in sockets() if source == target}
    assert ("tcp_socket", "connect") in own
    assert {rule for rule in own if rule[0] not in OWN} == {("tcp_socket", one) for one in WISH}


def test_none_reaches_another_domain_by_a_socket() -> None:
    """recvfrom is asked of packets that IPsec labelled. mcstransd: the base policy gives it to every domain."""
    found = {rule for rule in sockets() if rule[0] != rule[1] and rule[3] != "recvfrom"}
    assert {rule for rule in found if rule[1] != "setrans_t" and "_zygote_t" not in rule[0]} == set()
    assert {rule[1:3] for rule in found if "_zygote_t" in rule[0]} == {
        ("setrans_t", "unix_stream_socket"),
        ("selcgi_t", "unix_stream_socket"),
    }
