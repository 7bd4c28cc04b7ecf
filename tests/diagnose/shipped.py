"""A scene in which all is well: the shipped policy's rules as far as the doctor asks about them, and one script each.

The tests take one thing away from it, or add one, and look at what is found. Clean here means clean in the guest, too:
tests/enforcing/test_doctor.py asks the real policy about the real site.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from selcgi.context import ContextSpec
from selcgi.diagnose.scene import Door, File, Launcher, Scene, Scripts, resolve
from selcgi.system.facts import KernelFacts
from tests.fakes import OWN, FakePolicy, Rule

WEBAPPS = ("user_webapp_t", "staff_webapp_t")
RULES: dict[Rule, tuple[str, ...]] = {
    ("selcgi_t", "selcgi_t", "process"): ("setexec", "fork"),
    ("selcgi_t", "selcgi_t", "unix_stream_socket"): ("create", "connectto"),
    ("selcgi_t", "selcgi_script_exec_t", "file"): ("execute", "read", "open", "getattr"),
    ("selcgi_t", "selcgi_conf_t", "file"): ("read", "open", "getattr"),
    ("selcgi_t", "shell_exec_t", "file"): ("execute", "read", "open", "getattr", "map"),
    ("init_t", "selcgi_exec_t", "file"): ("execute",),
    ("init_t", "selcgi_t", "process"): ("transition",),
    ("init_t", "selcgi_t", "process2"): ("nnp_transition",),
    ("httpd_t", "selcgi_t", "unix_stream_socket"): ("connectto",),
    ("httpd_t", "selcgi_runtime_t", "dir"): ("search",),
    ("httpd_t", "selcgi_runtime_t", "sock_file"): ("write",),
    ("sysadm_t", "security_t", "security"): ("load_policy", "setenforce", "setbool"),
    ("selcgi_avc_t", "selcgi_avc_t", "capability2"): ("audit_read",),
    ("selcgi_avc_t", "selcgi_avc_t", "netlink_audit_socket"): ("create", "bind", "read"),
    ("init_t", "selcgi_avc_exec_t", "file"): ("execute",),
    **{("selcgi_t", name, "dir"): ("search",) for name in ("var_t", *WEBAPPS)},
    **{("selcgi_t", name, "file"): ("read", "open") for name in WEBAPPS},
    **{
        ("selcgi_t", name, "process"): ("transition", "siginh", "rlimitinh", "getattr", "signal", "sigkill")
        for name in WEBAPPS
    },
    **{("selcgi_t", name, "process2"): ("nnp_transition", "nosuid_transition") for name in WEBAPPS},
    **{(name, "selcgi_script_exec_t", "file"): ("entrypoint", "read", "open", "execute", "map") for name in WEBAPPS},
    **{(name, "shell_exec_t", "file"): ("read", "open", "execute", "map") for name in WEBAPPS},
    **{(name, "bin_t", "file"): ("read", "open", "execute", "execute_no_trans", "map") for name in WEBAPPS},
    **{(name, "tmp_t", "file"): ("read",) for name in WEBAPPS},
    **{(name, "var_t", "dir"): ("search",) for name in WEBAPPS},
    **{(name, "selcgi_t", "fd"): ("use",) for name in WEBAPPS},
    **{(name, "selcgi_t", "fifo_file"): ("read", "write") for name in WEBAPPS},
}
MORE_TYPES = ("no_script_t", "unlabeled_t", "nfs_t")
BECOMES: dict[Rule, str] = {
    ("init_t", "selcgi_exec_t", "process"): "selcgi_t",
    ("init_t", "selcgi_avc_exec_t", "process"): "selcgi_avc_t",
}
SPECS = (
    (ContextSpec("user_webapp_t", "s0:c1"), "site.map:1"),
    (ContextSpec("user_webapp_t", "s0:c2"), "site.map:2"),
    (ContextSpec("staff_webapp_t", "s0"), "site.map:3"),
)


def label(name: str) -> str:
    return f"system_u:object_r:{name}:s0"


def file(path: str, name: str) -> File:
    """As its place says."""
    return File(path, label(name), label(name))


SCRIPT = Scripts(
    label=label("selcgi_script_exec_t"),
    expected=label("selcgi_script_exec_t"),
    interpreter=file("/bin/sh", "shell_exec_t"),
    program=file("/usr/bin/perl", "bin_t"),
    folders=(file("/srv", "var_t"),),
    paths=("/srv/a.cgi",),
)


def policy(
    without: Iterable[tuple[Rule, str]] = (),
    more: dict[Rule, tuple[str, ...]] | None = None,
    becomes: dict[Rule, str] | None = None,
    **others: Any,
) -> FakePolicy:
    """The shipped one, less some permissions, and more."""
    allowed = {rule: set(names) for rule, names in RULES.items()}
    for rule, permission in without:
        allowed[rule].remove(permission)
    for rule, names in (more or {}).items():
        allowed[rule] = {*allowed.get(rule, ()), *names}
    types = {*MORE_TYPES, *others.pop("types", ())}
    return FakePolicy(allowed, types=types, transitions={**BECOMES, **(becomes or {})}, **others)


def scene(asked: FakePolicy | None = None, **changes: Any) -> Scene:
    asked = asked or policy()
    specs = changes.pop("specs", SPECS)
    clean = Scene(
        policy=asked,
        launcher=Launcher(OWN),
        mapped=resolve(asked, OWN, specs),
        scripts=(SCRIPT,),
        doors=(Door("unix:/run/selcgi/selcgi.sock", (), file("/run/selcgi", "selcgi_runtime_t"),
                    file("/run/selcgi/selcgi.sock", "selcgi_runtime_t")),),
        trusted=(file("/etc/selcgi/site.map", "selcgi_conf_t"),),
        roots=(file("/srv", "var_t"),),
        program=file("/opt/selcgi/bin/selcgi", "selcgi_exec_t"),
        listener=file("/opt/selcgi/bin/selcgi-avc", "selcgi_avc_exec_t"),
        kernel=KernelFacts(),
    )  # fmt: skip
    return replace(clean, **changes)
