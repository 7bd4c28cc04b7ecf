"""Which switch of the shipped policy opens what a domain was refused: a boolean, or a macro for one of the template.

Decides by a table of what the macros of contrib/selinux/webapp.cil open, and asks nothing: selcgi_t may not read the
policy, and the kernel tells nobody else which rules a boolean would bring. A test holds the table against that file.
Used by system/refusals.py and cli/learn.py.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from selcgi.policy.ports import METRICS, REQUESTS

SHIPPED = frozenset(("user_webapp_t", "staff_webapp_t", "anon_webapp_t"))  # domains that the booleans are for
WARM = "selcgi_webapp_warm"  # the boolean that starts warm interpreters for them
BY_BOOLEAN = "selcgi_webapp_by_boolean"  # the attribute of all that they are for
_PORTS = "selcgi_far_port"  # the attribute of all ports but selcgi's own, for which there is no switch
_OWN_PORTS = (REQUESTS.type, METRICS.type)
_TEMPLATE, _ZYGOTE = "webapp_t", "zygote_t"  # how the names of domains end that the template made

_FOLDER, _LINK, _FILE = "read open search getattr", "read getattr", "read open getattr map ioctl lock"
_SOCKET = "write getattr"
_TCP = {("self", "tcp_socket"): "read write"}
_HOSTS = {
    ("net_conf_t", "dir"): "search getattr",
    ("net_conf_t", "file"): "read open getattr",
    ("net_conf_t", "lnk_file"): _LINK,
}


@dataclass(frozen=True, slots=True)
class Switch:
    """`opens`: the permissions by type and class; the domain's own type is "self"."""

    macro: str
    boolean: str
    opens: Mapping[tuple[str, str], str]

    def covers(self, target: str, classname: str, permissions: Collection[str]) -> bool:
        return set(permissions) <= set(self.opens.get((target, classname), "").split())


SWITCHES = (
    Switch(
        "selcgi_webapp_mail",
        "selcgi_webapp_send_mail",
        {
            **_HOSTS,
            **_TCP,
            ("smtp_port_t", "tcp_socket"): "name_connect",
            ("sendmail_exec_t", "file"): "read open getattr execute execute_no_trans map ioctl",
        },
    ),
    Switch(
        "selcgi_webapp_database",
        "selcgi_webapp_connect_db",
        {
            **_HOSTS,
            **_TCP,
            ("postgresql_port_t", "tcp_socket"): "name_connect",
            ("postgresql_var_run_t", "dir"): "search getattr",
            ("postgresql_var_run_t", "sock_file"): _SOCKET,
            ("postgresql_tmp_t", "sock_file"): _SOCKET,
            ("postgresql_t", "unix_stream_socket"): "connectto",
            ("mysqld_port_t", "tcp_socket"): "name_connect",
            ("mysqld_var_run_t", "dir"): "search getattr",
            ("mysqld_var_run_t", "sock_file"): _SOCKET,
            ("mysqld_db_t", "dir"): "search getattr",
            ("mysqld_db_t", "sock_file"): _SOCKET,
            ("mysqld_t", "unix_stream_socket"): "connectto",
        },
    ),
    Switch(
        "selcgi_webapp_homes",
        "selcgi_webapp_read_home",
        {
            ("home_root_t", "dir"): _FOLDER,
            ("home_root_t", "lnk_file"): _LINK,
            **{(one, "dir"): _FOLDER for one in ("user_home_dir_t", "user_home_t", "httpd_user_content_t")},
            **{(one, "file"): _FILE for one in ("user_home_dir_t", "user_home_t", "httpd_user_content_t")},
            **{(one, "lnk_file"): _LINK for one in ("user_home_dir_t", "user_home_t", "httpd_user_content_t")},
        },
    ),
    Switch("selcgi_webapp_programs", "selcgi_webapp_run_programs", {("bin_t", "file"): "entrypoint"}),
    Switch(
        "selcgi_webapp_network",
        "selcgi_webapp_connect_network",
        {
            **_HOSTS,
            **_TCP,
            (_PORTS, "tcp_socket"): "name_connect",
            ("self", "udp_socket"): "create connect read write getattr getopt setopt shutdown ioctl",
            ("systemd_resolved_var_run_t", "dir"): "search getattr",
            ("systemd_resolved_var_run_t", "file"): "read open getattr",
        },
    ),
)
_NETWORK = SWITCHES[-1]


def switch(domain: str, target: str, classname: str, permissions: Collection[str], by_boolean: bool = False) -> str:
    """What to do for it, as a command or a line of CIL; several are joined by "; or: ". Empty where no switch opens all
    of it. `target` is a type, "self" for the domain's own. `by_boolean`: the booleans are for this domain, too."""
    by_boolean = by_boolean or domain in SHIPPED
    if not by_boolean and not domain.endswith(_TEMPLATE):
        return ""
    return "; or: ".join(_ways(domain, target, classname, permissions, by_boolean))


def _ways(domain: str, target: str, classname: str, permissions: Collection[str], by_boolean: bool) -> Iterator[str]:
    found = [one for one in SWITCHES if one.covers(target, classname, permissions)]
    if not found and target not in _OWN_PORTS and _NETWORK.covers(_PORTS, classname, permissions):
        yield f"(call selcgi_webapp_connects ({domain} {target}))"  # every port is more than was asked for
        found = [_NETWORK] if by_boolean else []
    for one in found:
        yield f"setsebool -P {one.boolean} on" if by_boolean else f"(call {one.macro} ({domain}))"


def warm_cure(zygote: str) -> str:
    """What lets a warm interpreter in this domain be started, and its children move on into their own."""
    application = zygote.removesuffix(_ZYGOTE)
    if f"{application}{_TEMPLATE}" in SHIPPED:
        return f"setsebool -P {WARM} on"
    if application.endswith("."):
        return f"(blockinherit selcgi_warm) in the block {application[:-1]}"
    return f"(call selcgi_zygote_enters ({zygote} {application}{_TEMPLATE}))"
