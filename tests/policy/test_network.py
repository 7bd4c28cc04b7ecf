"""No domain for scripts, as shipped, reaches anything by a socket: by the rules of the compiled policy, booleans off.
With every boolean and switch on, none reaches selcgi's own ports.

By rules and not by a trial: what a kernel asks for differs. Before June 2026 sendto(2) with MSG_FASTOPEN connected for
tcp_socket write alone, and the guest's kernel is newer.
"""

from pathlib import Path

import pytest

from selcgi.policy.switches import SHIPPED
from tests.guest import image, policy
from tests.guest.fetch import command

pytestmark = pytest.mark.guest

WISH = ("create", "connect", "getattr", "getopt", "setopt", "shutdown", "ioctl")  # so that a denial names the port
OWN = {"unix_stream_socket", "unix_dgram_socket"}  # within the domain itself


SWITCHES = ("network", "database", "mail", "homes", "programs", "booleans")
ALL_SWITCHES = "(block full (blockinherit selcgi_app) (blockinherit selcgi_warm))\n" + "".join(
    f"(call selcgi_webapp_{name} (full.webapp_t))\n" for name in SWITCHES
)


def sockets(binary: Path, *words: str) -> set[tuple[str, ...]]:
    program = Path(__file__).with_name("sockets.py")
    lines = command(["/usr/bin/python3", "-I", str(program), str(binary), *words], timeout=120).splitlines()
    return {tuple(line.split()) for line in lines}


def shipped() -> set[tuple[str, ...]]:
    return sockets(policy.compiled() / "policy")


def test_none_may_write_to_a_socket_of_the_network() -> None:
    own = {(classname, one) for source, target, classname, one in shipped() if source == target}
    assert ("tcp_socket", "connect") in own
    assert {rule for rule in own if rule[0] not in OWN} == {("tcp_socket", one) for one in WISH}


def test_none_reaches_another_domain_by_a_socket() -> None:
    """recvfrom is asked of packets that IPsec labelled. mcstransd: the base policy gives it to every domain."""
    found = {rule for rule in shipped() if rule[0] != rule[1] and rule[3] != "recvfrom"}
    assert {rule for rule in found if rule[1] != "setrans_t" and "_zygote_t" not in rule[0]} == set()
    assert {rule[1:3] for rule in found if "_zygote_t" in rule[0]} == {
        ("setrans_t", "unix_stream_socket"),
        ("selcgi_t", "unix_stream_socket"),
    }


def test_no_switch_and_no_boolean_opens_a_port_of_selcgis_own(tmp_path: Path) -> None:
    full = tmp_path / "full.cil"
    full.write_text(ALL_SWITCHES)
    found = sockets(policy.loaded([*image._policy(), full], tmp_path), "any")
    connects = {(source, target) for source, target, _, permission in found if permission == "name_connect"}
    assert {one for one, target in connects if target == "fingerd_port_t"} == {"full.webapp_t", *SHIPPED}
    assert {pair for pair in connects if pair[1].startswith("selcgi_")} == set()
