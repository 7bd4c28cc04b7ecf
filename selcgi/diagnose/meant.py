"""What the shipped policy means to allow a script or its warm interpreter, each with its reason. All else is a finding.

Decides nothing but that. An entry is as narrow as the rule it stands for: whoever adds a rule to contrib/selinux that
reaches beyond a script's own context adds an entry here, or selcgi audit-map, and with it bin/test, says so.
Called by diagnose/isolation.py.
"""

from dataclasses import dataclass
from enum import StrEnum


class Column(StrEnum):
    """Whom something is done to."""

    OTHERS = "others"  # another mapped context, and what it writes
    SELCGI = "selcgi"  # the launcher, the denial listener, warm interpreters, and their files
    SERVERS = "servers"  # web servers, and domains that may do everything
    POLICY = "policy"  # what decides over all of this: rules, and what everybody runs or trusts
    ITSELF = "itself"  # what the context may do to the kernel


@dataclass(frozen=True, slots=True)
class Meant:
    """`kind` is the target's type, "*", or APPLICATION."""

    column: Column
    kind: str
    classname: str
    permissions: frozenset[str]
    reason: str


def _meant(column: Column, kind: str, classname: str, permissions: str, reason: str) -> Meant:
    return Meant(column, kind, classname, frozenset(permissions.split()), reason)


_LIST = "read open search getattr"
_READ = "read open getattr map ioctl lock"
_RUN = "entrypoint read open getattr execute execute_no_trans map ioctl"
_SCRIPTS = "scripts are there to be run, in whatever context the mapping says"
_PUBLIC = "what is public may be read by every script"
_LABELLED = "packets of a labelled network: who may connect to whom is a rule of its own, and there is none"
_KNOWING = "knowing what the policy is changes nothing"
_SHARED = "programs, libraries and settings of all are there to be read and run; whoever changes them is everybody"
_SHARED_TYPES = ("bin_t", "shell_exec_t", "lib_t", "ld_so_t", "ld_so_cache_t", "usr_t", "etc_t", "locale_t")
# Who may use one of these needs no other rule: disks and memory below all labels, what the kernel or init runs,
# passwords, and the web server's own word on who is who.
_BELOW_TYPES = (
    "fixed_disk_device_t", "scsi_generic_device_t", "memory_device_t", "proc_kcore_t", "usermodehelper_t",
    "sysctl_kernel_t", "shadow_t", "httpd_config_t", "initrc_exec_t", "init_script_file_t", "systemd_unit_t",
    "systemd_unit_file_t", "cron_spool_t", "system_cron_spool_t",
)  # fmt: skip
_POLICY_FILES = (
    "selinux_config_t", "default_context_t", "file_context_t", "policy_config_t", "semanage_store_t", "policy_src_t"
)  # fmt: skip

_LENT = "what selcgi lends a warm interpreter for a request, and what it hears from it"
APPLICATION = "(the domain of its own application)"

MEANT = (
    _meant(Column.SELCGI, "selcgi_t", "fd", "use", "stdin, stdout and stderr were opened by selcgi"),
    _meant(Column.SELCGI, "selcgi_t", "fifo_file", "read write append open getattr ioctl",
           "the pipes of the request; those of other requests cannot be reached, having no name"),
    _meant(Column.SELCGI, "selcgi_script_exec_t", "dir", _LIST, _SCRIPTS),
    _meant(Column.SELCGI, "selcgi_script_exec_t", "file", _RUN, _SCRIPTS),
    _meant(Column.SELCGI, "selcgi_script_exec_t", "lnk_file", "read getattr", _SCRIPTS),
    _meant(Column.SELCGI, "selcgi_public_content_t", "dir", _LIST, _PUBLIC),
    _meant(Column.SELCGI, "selcgi_public_content_t", "file", _READ, _PUBLIC),
    _meant(Column.SELCGI, "selcgi_public_content_t", "lnk_file", "read getattr", _PUBLIC),
    _meant(Column.SELCGI, "selcgi_state_t", "dir", "search getattr",
           "the home of selcgi's Unix user: who looks there for settings must find none; its files are closed"),
    _meant(Column.OTHERS, "*", "dir", "search getattr reparent",
           "anybody may walk to a file, the file says who reads it; reparent is void without rename"),
    _meant(Column.OTHERS, "*", "file", "getattr map",
           "the base policy's MCS leaves both: where a folder may be searched one sees that a file is there, so give a "
           "user's folder his level; map is void without open"),
    _meant(Column.OTHERS, "*", "lnk_file", "getattr", "as with a file"),
    _meant(Column.OTHERS, "*", "association", "sendto", _LABELLED),
    _meant(Column.SERVERS, "*", "peer", "recv", _LABELLED),
    _meant(Column.SERVERS, "*", "association", "recvfrom", _LABELLED),
    _meant(Column.SERVERS, "*", "tcp_socket", "recvfrom", _LABELLED),
    _meant(Column.SERVERS, "*", "process", "sigchld", "a child's end is told to its parent"),
    *(_meant(Column.POLICY, kind, "dir", _LIST, _KNOWING) for kind in _POLICY_FILES),
    *(_meant(Column.POLICY, kind, "file", _READ, _KNOWING) for kind in _POLICY_FILES),
    *(_meant(Column.POLICY, kind, "lnk_file", "read getattr", _KNOWING) for kind in _POLICY_FILES),
    *(_meant(Column.POLICY, kind, "dir", _LIST + " ioctl lock", _SHARED) for kind in _SHARED_TYPES),
    *(_meant(Column.POLICY, kind, "file", _RUN + " lock", _SHARED) for kind in _SHARED_TYPES),
    *(_meant(Column.POLICY, kind, "lnk_file", "read getattr", _SHARED) for kind in _SHARED_TYPES),
    _meant(Column.POLICY, "sysctl_kernel_t", "dir", _LIST + " ioctl lock", "interpreters ask which kernel it is"),
    _meant(Column.POLICY, "sysctl_kernel_t", "file", _READ, "as with the folder"),
)  # fmt: skip

# Beside these, of a warm interpreter.
MEANT_WARM = (
    _meant(Column.OTHERS, APPLICATION, "process", "dyntransition",
           "its child moves itself into the context of a request, of its own application alone, and can't come back"),
    _meant(Column.ITSELF, "*", "process", "setcurrent", "the same; where it may move to is the other rule"),
    _meant(Column.SELCGI, "selcgi_t", "unix_stream_socket", "read write getattr getopt setopt shutdown ioctl", _LENT),
    _meant(Column.SELCGI, "selcgi_zygote_exec_t", "file", "entrypoint read open getattr execute map ioctl",
           "the program by which it is entered, and no other domain"),
    _meant(Column.SELCGI, "selcgi_script_exec_t", "dir", "ioctl", _LENT),
)  # fmt: skip

# What is asked of the policy for Column.ITSELF: class and permissions that make a label or a rule worthless.
POWERS = {
    classname: frozenset(permissions.split())
    for classname, permissions in {
        "capability": "sys_module sys_rawio sys_ptrace sys_admin sys_boot mknod dac_override dac_read_search "
        "setuid setgid setpcap setfcap chown fowner net_admin audit_control",
        "cap_userns": "sys_ptrace sys_admin dac_override dac_read_search",
        "capability2": "mac_admin mac_override bpf perfmon",
        "process": "setexec setcurrent setfscreate setsockcreate setkeycreate",
        "bpf": "map_create map_read map_write prog_load prog_run",
        "perf_event": "open cpu kernel",
        "io_uring": "override_creds sqpoll cmd",
        "process2": "nnp_transition nosuid_transition",
    }.items()
}
# Classes that the kernel asks of a process about itself alone, though rules name a target.
ABOUT_ITSELF = ("capability", "capability2", "cap_userns", "cap2_userns", "lockdown")
POLICY_TYPES = ("security_t", *_POLICY_FILES, *_SHARED_TYPES, *_BELOW_TYPES)
NO_PROGRAMS = ("cgroup_t",)  # the kernel makes these files, and none of them can be executed
SELCGI_PREFIX = "selcgi_"  # of all its types, but for those of warm interpreters, which have an attribute
DOMAINS = ("selcgi_t", "selcgi_avc_t")
ZYGOTES = "selcgi_zygote"
WEB_SERVERS = ("httpd_t", "haproxy_t")
UNCONFINED = ("unconfined_domain_type", "unconfined_domain")  # the attribute, by distribution


def beyond(
    column: Column, kind: str, classname: str, permissions: tuple[str, ...], *, warm: bool = False
) -> tuple[str, ...]:
    """Those of `permissions` that nobody meant to allow a script, or, if `warm`, a warm interpreter."""
    fine: set[str] = set()
    for one in (*MEANT, *(MEANT_WARM if warm else ())):
        if one.column is column and one.classname == classname and one.kind in (kind, "*"):
            fine |= one.permissions
    return tuple(name for name in permissions if name not in fine)
