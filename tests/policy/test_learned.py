"""What is learned from refusals, what of it is dangerous, and the text of a twin."""

import pytest

from selcgi.policy.learned import Want, block, danger, rules
from selcgi.policy.twin import Domain, twin_text

WANTS = [
    Want("usr_t", "file", ("read",), "read /usr/x"),
    Want("usr_t", "file", ("open", "read"), "open /usr/y"),
    Want("ldap_port_t", "tcp_socket", ("name_connect",), "connect to TCP port 389"),
    Want("self", "process", ("execmem",), "run what it wrote"),
    Want("self", "process", ("setrlimit",), ""),
]
BLOCK = """\
(allow d ldap_port_t (tcp_socket (name_connect)))  ; connect to TCP port 389
(allow d self (process (setrlimit)))
{}(allow d self (process (execmem)))  ; it undoes confinement
(allow d usr_t (file (open read)))  ; read /usr/x
"""


@pytest.mark.parametrize(("dangerous", "mark"), [(False, "; dangerous: "), (True, "")])
def test_the_smallest_rules_and_the_dangerous_apart(dangerous: bool, mark: str) -> None:
    assert block("d", rules(WANTS), dangerous) == BLOCK.format(mark)


@pytest.mark.parametrize(
    ("target", "classname", "permission"),
    [
        ("security_t", "file", "read"),
        ("security_t", "security", "setenforce"),
        ("selcgi_conf_t", "file", "read"),
        ("selcgi_port_t", "tcp_socket", "name_connect"),
        ("selcgi_t", "unix_stream_socket", "connectto"),
        ("shadow_t", "file", "read"),
        ("init_t", "process", "transition"),
        ("httpd_t", "process", "signal"),
        ("self", "process", "setcurrent"),
        ("self", "capability", "sys_admin"),
        ("usr_t", "file", "relabelto"),
        ("bin_t", "file", "entrypoint"),
        ("unlabeled_t", "file", "read"),
    ],
)
def test_what_nobody_should_add(target: str, classname: str, permission: str) -> None:
    assert danger(target, classname, permission)


@pytest.mark.parametrize(
    ("target", "classname", "permission"),
    [("usr_t", "file", "read"), ("self", "process", "setrlimit"), ("selcgi_public_content_t", "dir", "read")],
)
def test_what_may_be_added(target: str, classname: str, permission: str) -> None:
    assert danger(target, classname, permission) == ""


DOMAIN = Domain(
    name="d",
    attributes=("domain", "selcgi_webapp"),
    roles=("system_r",),
    rules=(
        ("allow", "d", "d", "fd", ["use"]),
        ("allow", "selcgi_t", "d", "process", ["signal", "transition"]),
        ("allow", "d_zygote_t", "d", "process", ["dyntransition"]),
        ("dontaudit", "d", "x_t", "dir", ["search"]),
        ("typetransition", "d", "tmp_t", "file", "d_rw_t"),
    ),
)
TWIN = """\
(type twin_t)
(roletype system_r twin_t)
(typeattributeset domain twin_t)
(typeattributeset selcgi_webapp twin_t)
(allow twin_t twin_t (fd (use)))
(allow selcgi_t twin_t (process (signal transition)))
(dontaudit twin_t x_t (dir (search)))
(typetransition twin_t tmp_t file d_rw_t)
"""


def test_a_twin_is_another_type_and_the_domain_is_not_named() -> None:
    assert twin_text(DOMAIN, "twin_t", (), permissive=False) == TWIN
    assert twin_text(DOMAIN, "twin_t", (), permissive=True) == f"{TWIN}(typepermissive twin_t)\n"


def test_what_was_learned_is_given_to_the_twin() -> None:
    (rule,) = rules(WANTS[2:3])
    assert twin_text(DOMAIN, "twin_t", (rule,), permissive=False).endswith(
        "(allow twin_t ldap_port_t (tcp_socket (name_connect)))\n"
    )
