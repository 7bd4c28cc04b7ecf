"""What is to be started, decided in full before anything is: the value between deciding and launching.

A Plan is built by serve/request.py from the params, the mapping's verdict and the opened script, and consumed by
launch/. It must not start, open or look up anything itself. Script owns two descriptors; whoever opened it closes it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from selcgi.context import Context
from selcgi.values import valueclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may use. Seconds are wall clock unless said; None means: not limited by selcgi."""

    total_seconds: float = 60.0  # from the launch to the last byte; then TERM, grace, KILL
    first_byte_seconds: float = 60.0  # until the response head is complete
    idle_seconds: float = 60.0  # without a byte read from or written to the script or the web server
    body_bytes: int = 1 << 30
    memory_bytes: int | None = None  # memory.max of all its processes (cgroup v2), else RLIMIT_AS of each
    cpu_seconds: int | None = None  # RLIMIT_CPU of each process
    processes: int | None = None  # pids.max of all its processes, else RLIMIT_NPROC: of its uid on the whole machine
    open_files: int | None = None  # RLIMIT_NOFILE
    file_bytes: int | None = None  # RLIMIT_FSIZE
    requests: int | None = None  # at once of one user in this context; None: --concurrent-user
    nice: int | None = None  # niceness of each process
    cpus: float | None = None  # cpu.max: processors that all its processes may use at once; there is no rlimit for it
    # Whether there are some that a process must set for itself, before it executes the script; and some that a cgroup
    # can hold for all processes of the request. Worked out once: a few objects are for all requests.
    for_each_process: bool = field(init=False, repr=False, compare=False)
    for_all_together: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        single = (self.memory_bytes, self.cpu_seconds, self.processes, self.open_files, self.file_bytes, self.nice)
        together = (self.memory_bytes, self.processes, self.cpus)
        object.__setattr__(self, "for_each_process", single != (None,) * len(single))
        object.__setattr__(self, "for_all_together", together != (None,) * len(together))


@dataclass(frozen=True, slots=True)
class Account:
    """The Unix identity of a script that does not run as selcgi's own user; uid is never 0."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class Warm:
    """The script runs in a fork of a warm interpreter. `application` is what serves PEP 3333 for it: NAME of the script
    itself, or MODULE:NAME; empty for a CGI script, which runs as `__main__`. `fallback`: a fresh program will do where
    no warm interpreter can be had."""

    application: str = ""
    fallback: bool = False


@valueclass(frozen=True, slots=True)
class Script:
    """A script that passed every check of system/scripts.py. `stamp` is (st_dev, st_ino, st_ctime_ns) at that time."""

    path: bytes  # absolute, links resolved, beneath a root
    descriptor: int  # O_RDONLY, close-on-exec
    directory: int  # O_PATH of the folder it lies in, close-on-exec
    stamp: tuple[int, int, int]
    interpreter: bytes  # first word after "#!", empty for a binary that the kernel loads itself
    label: str  # SELinux label of the file, empty when SELinux is off

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.directory)


@valueclass(frozen=True, slots=True)
class Plan:
    """One launch. `context` is None only with --selinux off."""

    script: Script
    argv: tuple[bytes, ...]
    environ: Mapping[bytes, bytes]
    context: Context | None
    limits: Limits
    account: Account | None = None
    empty_body: bool = False  # stdin is /dev/null, no pipe is made
    warm: Warm | None = None  # None: a fresh program

    def zygote(self, own: Context | None) -> Context | None:
        """Of the warm interpreter that it needs, where selcgi's own context is `own`; None where there are none, or it
        needs none. ValueError when the domain has no zygote."""
        if self.warm is None or self.context is None or own is None:
            return None
        return self.context.zygote(own)


@valueclass(frozen=True, slots=True)
class Exit:
    """How the script ended: an exit code, or a signal. Usage covers it and the children that it waited for."""

    code: int | None
    signal: int | None
    cpu_seconds: float
    maxrss_bytes: int

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal is not None else f"{self.code}"
