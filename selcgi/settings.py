"""Every setting of a running selcgi, with its unit in its name and its default.

Built once by cli/ from the options and handed down; nothing below cli/ reads the environment or a configuration file.
The defaults here, and those of plan.Limits, are the ones that --help shows. Must not validate against the system:
serve/ does so at start.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from selcgi.context import Band
from selcgi.plan import Limits

KIB = 1024
MIB = 1024 * KIB
ONE_USER = 0.75  # of all places, of a queue, of a spool: the most that one user has when nothing else is said
DENIALS = Path("/run/selcgi/avc.sock")
UMASK = 0o027  # of selcgi, and so of every script

USER_BAND = Band(512, 1023)  # 130,816 pairs; c0 and up are left to rules that name categories
REQUEST_BAND = Band(488, 511)  # 276 pairs

SelinuxMode = Literal["required", "permissive-ok", "off"]
IdentityMode = Literal["none", "proof", "auth-type", "remote-user"]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One --listen. `address` is unix:PATH, tcp:HOST:PORT, fd:N or systemd."""

    address: str
    identity: IdentityMode = "none"
    proof_file: Path | None = None
    peer_uids: tuple[int, ...] = ()  # empty: any
    peer_types: tuple[str, ...] = ()  # empty: any
    peer_nets: tuple[str, ...] = ()  # empty: loopback only
    map_params: tuple[str, ...] = ()  # params of this web server that may choose a context, by name
    mode: int = 0o660
    owner: str = ""  # USER:GROUP, empty: unchanged


@dataclass(frozen=True, slots=True)
class MapParam:
    """--map param:NAME: a param that the web server's authentication fills from its directory."""

    name: str

    def __str__(self) -> str:
        return f"param:{self.name}"


@dataclass(frozen=True, slots=True)
class MapLogin:
    """--map login:TABLE: SELinux's own login mapping, and a table from its SELinux users to contexts."""

    table: Path

    def __str__(self) -> str:
        return f"login:{self.table}"


MapSource = Path | MapParam | MapLogin  # a path is a mapping file


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What one connection may make selcgi keep. FastCGI 1.0 sets no bounds of its own."""

    params_bytes: int = 256 * KIB
    params_count: int = 1000
    requests: int = 64  # at once on one connection; more get FCGI_CANT_MPX_CONN


@dataclass(frozen=True, slots=True)
class EnvironRules:
    """What beyond the RFC 3875 variables reaches a script."""

    fixed: tuple[tuple[str, str], ...] = ()  # --env NAME=VALUE
    passed: tuple[str, ...] = ()  # --pass-param NAME: params of the web server, by name
    path: str = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class CategorySettings:
    """Where c{user} and c{request} of a rule come from."""

    registry: Path = Path("/var/lib/selcgi/categories")
    users: Band = USER_BAND
    requests: Band = REQUEST_BAND
    by_command: bool = False  # False: a user gets his at his first request

    @property
    def leases(self) -> Path:
        """The file whose locks are what requests have been lent."""
        return self.registry.with_name(f"{self.registry.name}.leases")


@dataclass(frozen=True, slots=True)
class WarmSettings:
    """Warm interpreters: which scripts run in their forks, and how many and how long they are kept."""

    scripts: tuple[str, ...] = ()  # --warm GLOB: CGI scripts; a rule's warm= says it for its own
    preloads: tuple[str, ...] = ()  # modules that every zygote imports
    fallback: bool = False  # a fresh program where no zygote can be had; else 503
    zygotes: int = 32  # of one worker; for one more, that which was not used for longest is ended
    requests: int = 10_000  # of one zygote, until another takes its place; 0: any number
    idle_seconds: float = 600.0  # without a request; then it is ended
    start_seconds: float = 30.0  # for its preloads
    growth_bytes: int = 64 * MIB  # of its memory since its start; then another takes its place


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of `selcgi serve`; `selcgi run` builds one too."""

    listeners: tuple[ListenerSettings, ...] = ()
    maps: tuple[MapSource, ...] = ()  # in the order in which they are asked
    group_files: tuple[Path, ...] = ()  # members of @GROUP
    param_domains: tuple[str, ...] = ()  # domains that a param may choose
    roots: tuple[Path, ...] = ()
    workers: int = 0  # 0: one a processor that selcgi may use
    limits: Limits = field(default_factory=Limits)
    wire: WireLimits = field(default_factory=WireLimits)
    environ: EnvironRules = field(default_factory=EnvironRules)
    categories: CategorySettings = field(default_factory=CategorySettings)
    warm: WarmSettings = field(default_factory=WarmSettings)
    write_seconds: float = 60.0  # the web server takes no byte of a response for so long
    connection_idle_seconds: float = 60.0  # a connection without a complete request; then it is closed
    late_body_seconds: float = 5.0  # after the answer, for the rest of a body that nobody wants
    kill_grace_seconds: float = 5.0  # between TERM and KILL
    linger_seconds: float = 0.1  # after the exit, until output still held open by a background job is given up
    drain_seconds: float = 30.0  # after SIGTERM, for requests in progress
    requests_per_worker: int = 0  # --max-requests: 0 means a worker is never recycled
    concurrent_requests: int = 1024  # of all workers; more wait in the queue
    worker_requests: int = 0  # of one worker; 0: as many as of all
    user_requests: int = 0  # of one user, whatever his contexts; 0: three quarters of all
    queue_length: int = 256  # requests that wait for a place in one worker; more get 503
    queue_seconds: float = 10.0  # that one waits at most
    spool: Path = Path("/var/tmp")  # noqa: S108 - files there are opened with O_TMPFILE, never by name
    spool_bytes: int = 4 << 30  # all unlinked body files of a worker together
    body_memory_bytes: int = 64 * KIB  # of a body, before the rest goes to the spool
    head_bytes: int = 32 * KIB  # of a response head
    output_bytes: int = 64 * KIB  # read ahead of the web server, then the script is not read any more
    stderr_bytes: int = 64 * KIB  # of a request's stderr forwarded and logged; the rest is counted and dropped
    stderr_lines: int = 500  # of it logged
    local_redirects: bool = False  # are followed inside; else the client is sent there
    script_user: str = ""  # empty: selcgi's own user
    cgroup: str = "auto"  # auto, none, or the path of a delegated cgroup v2
    selinux: SelinuxMode = "required"
    preflight: bool = True  # refuse a mapping that the policy would not let work
    pid_file: Path | None = None
    control: Path | None = None  # UNIX socket of the control process; None: no such process
    denials: Path | None = DENIALS  # UNIX socket of the denial listener; None: none is looked for
    metrics: str = ""  # HOST:PORT of loopback, empty: none
    failures: Path | None = None  # file of records; None: none are made
    log_file: Path | None = None  # None: stderr
    log_json: bool = False
    log_level: str = "info"
