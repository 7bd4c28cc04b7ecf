"""Who reaches selcgi, and what a warm interpreter's domain reaches: the loaded policy is asked about every type it has.

No program is run here but the service on a TCP port. What a domain of the base policy may do to every domain anyway,
as unconfined_t may, says nothing about these rules: it is told by a domain that no rule speaks of.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from selcgi.system.policy import KernelPolicy, open_policy
from tests.enforcing import site
from tests.enforcing.faults import load
from tests.enforcing.test_new_domain import all_types
from tests.enforcing.test_switches import switched_on

pytestmark = pytest.mark.enforcing

MODULE = "(block warm (blockinherit selcgi_app) (blockinherit selcgi_warm))\n(block plain (blockinherit selcgi_app))\n"
OURS = {"warm.webapp_t", "warm.zygote_t", "warm.script_t", "warm.content_t", "warm.rw_t", "plain.webapp_t"}
SHIPPED = ("user", "staff", "anon")
ZYGOTE, WEBAPP, PLAIN = "warm.zygote_t", "warm.webapp_t", "plain.webapp_t"
MOVES = {"transition", "dyntransition"}
CHANGES = {"write", "append", "create", "unlink", "rename", "link", "setattr", "relabelfrom", "relabelto"}
WEB_SERVERS = {"httpd_t", "haproxy_t"}  # Debian 12 has no haproxy_t


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    load("warm", MODULE)


@pytest.fixture(scope="module")
def policy() -> KernelPolicy:
    return open_policy()


@pytest.fixture(scope="module")
def types(policy: KernelPolicy) -> list[str]:
    """Every type, as processes or objects may have it."""
    return sorted({name for name in {*all_types(), *OURS} if context(policy, name)})


def context(policy: KernelPolicy, name: str) -> str:
    found = (policy.canonical(f"system_u:{role}:{name}:s0") for role in ("system_r", "object_r"))
    return next((one for one in found if one), "")


def may(policy: KernelPolicy, source: str, target: str, classname: str) -> frozenset[str]:
    return policy.vector(context(policy, source), context(policy, target), classname).allowed


def reached(policy: KernelPolicy, types: list[str], source: str, classname: str, wanted: set[str]) -> set[str]:
    """The types to which `source` has one of these permissions."""
    return {name for name in types if may(policy, source, name, classname) & wanted}


def reaching(policy: KernelPolicy, types: list[str], target: str, classname: str, wanted: set[str]) -> set[str]:
    return {name for name in types if may(policy, name, target, classname) & wanted}


def test_a_zygote_moves_into_its_application_and_nowhere_else(policy: KernelPolicy, types: list[str]) -> None:
    assert may(policy, ZYGOTE, WEBAPP, "process") == {"dyntransition"}
    assert reached(policy, types, ZYGOTE, "process", MOVES) == {WEBAPP}
    own = may(policy, ZYGOTE, ZYGOTE, "process")
    assert "setcurrent" in own
    assert not own & {"sigkill", "sigstop", "signull"}, "code that is loaded there reaches no other such process"
    assert not own & {"setexec", "ptrace", "execmem", "setfscreate", "setsockcreate", "setkeycreate"}
    assert may(policy, ZYGOTE, "random_device_t", "chr_file") == set()


def test_those_of_the_shipped_domains_move_by_a_boolean(policy: KernelPolicy, types: list[str]) -> None:
    for name in SHIPPED:
        assert reached(policy, types, f"{name}_zygote_t", "process", MOVES) == set(), "it is off"
    with switched_on("selcgi_webapp_warm"):
        for name in SHIPPED:
            assert reached(policy, types, f"{name}_zygote_t", "process", MOVES) == {f"{name}_webapp_t"}
            assert reaching(policy, types, f"{name}_zygote_t", "process", MOVES) == {"selcgi_t"}
            assert reached(policy, types, f"{name}_webapp_t", "process", MOVES) == set()


def test_it_can_take_any_category_along(policy: KernelPolicy) -> None:
    target = "system_u:system_r:warm.webapp_t:s0:c5,c9"
    assert policy.vector(context(policy, ZYGOTE), target, "process").allowed == {"dyntransition"}


def test_there_is_no_way_back_and_no_way_on(policy: KernelPolicy, types: list[str]) -> None:
    assert reached(policy, types, WEBAPP, "process", MOVES) == set()
    assert not may(policy, WEBAPP, WEBAPP, "process") & {"setcurrent", "setexec"}
    assert may(policy, WEBAPP, ZYGOTE, "process") == set()


def test_selcgi_alone_starts_a_zygote_from_its_own_program(policy: KernelPolicy, types: list[str]) -> None:
    assert reaching(policy, types, ZYGOTE, "process", MOVES) == {"selcgi_t"}
    assert reaching(policy, types, "user_zygote_t", "process", MOVES) == set(), "by a boolean, which is off"
    assert reached(policy, types, ZYGOTE, "file", {"entrypoint"}) == {"selcgi_zygote_exec_t"}
    assert reached(policy, types, ZYGOTE, "file", {"execute_no_trans"}) == set()


def test_a_zygote_reads_code_and_has_no_network(policy: KernelPolicy, types: list[str]) -> None:
    for name in (
        "warm.content_t",
        "warm.rw_t",
        "user_webapp_rw_t",
        "selcgi_public_content_t",
        "selcgi_conf_t",
        "user_home_t",
    ):
        assert may(policy, ZYGOTE, name, "file") == set(), name
    assert {"read", "open", "map"} <= may(policy, ZYGOTE, "warm.script_t", "file")
    for classname in ("tcp_socket", "udp_socket", "rawip_socket", "packet_socket", "netlink_route_socket"):
        assert may(policy, ZYGOTE, ZYGOTE, classname) == set(), classname
    assert reached(policy, types, ZYGOTE, "tcp_socket", {"name_connect", "name_bind"}) == set()
    assert reached(policy, types, ZYGOTE, "file", CHANGES) == {ZYGOTE, "cgroup_t"}  # /proc/self, and:
    assert may(policy, ZYGOTE, "cgroup_t", "file") & {"write", "open", "append"} == {"write"}, "to be born there alone"
    assert may(policy, ZYGOTE, "cgroup_t", "dir") & {"write", "add_name", "open", "read"} == set()
    assert reached(policy, types, ZYGOTE, "dir", CHANGES | {"add_name"}) <= {ZYGOTE}


def test_web_servers_connect_and_nobody_else(policy: KernelPolicy, types: list[str]) -> None:
    for target, classname, permission in (
        ("selcgi_t", "unix_stream_socket", "connectto"),
        ("selcgi_runtime_t", "sock_file", "write"),
    ):
        found = reaching(policy, types, target, classname, {permission})
        everywhere = reaching(policy, types, PLAIN if target == "selcgi_t" else "warm.rw_t", classname, {permission})
        assert found - everywhere - {WEBAPP} == {"selcgi_t"} | WEB_SERVERS & {*types}
    assert not may(policy, "getty_t", "selcgi_t", "unix_stream_socket")


def test_the_control_socket_is_no_web_servers(policy: KernelPolicy, types: list[str]) -> None:
    """All that would reach it may reach the files of any program, by the base policy."""
    for classname, permission in (("dir", "search"), ("sock_file", "write")):
        found = reaching(policy, types, "selcgi_control_t", classname, {permission})
        assert "selcgi_t" in found
        assert not found & (WEB_SERVERS | {WEBAPP, ZYGOTE}), classname


def by_tcp(policy: KernelPolicy, types: list[str]) -> set[str]:
    """Who connects to the port of selcgi, and not to one of a service that no web server knows."""
    found = reaching(policy, types, "selcgi_port_t", "tcp_socket", {"name_connect"})
    return found - reaching(policy, types, "fingerd_port_t", "tcp_socket", {"name_connect"})


def test_tcp_is_a_boolean(policy: KernelPolicy, types: list[str]) -> None:
    assert by_tcp(policy, types) == set()
    assert may(policy, "selcgi_t", "selcgi_port_t", "tcp_socket") == set()
    with switched_on("selcgi_from_tcp"):
        assert by_tcp(policy, types) == WEB_SERVERS & {*types}
        assert may(policy, "selcgi_t", "selcgi_port_t", "tcp_socket") == {"name_bind"}


@contextmanager
def listening(port: int) -> Iterator[None]:
    with site.serving(f"--listen=tcp:127.0.0.1:{port},identity=proof:{site.PROOF}"):
        yield


def test_the_default_port_is_selcgis_own() -> None:
    with switched_on("selcgi_from_tcp"), listening(9140):
        socket.create_connection(("127.0.0.1", 9140)).close()


def test_the_denial_listener_has_no_more_than_it_uses(policy: KernelPolicy) -> None:
    """Beside what the base policy gives to every domain."""
    assert may(policy, "selcgi_avc_t", "urandom_device_t", "chr_file") == set()
    assert may(policy, "selcgi_avc_t", "syslogd_t", "unix_stream_socket") == set()
    assert may(policy, "selcgi_avc_t", "init_t", "process") == set()
    assert may(policy, "selcgi_avc_t", "usr_t", "file") == {"read", "open", "getattr", "ioctl"}
