"""Cgroup v2 as the means to end every descendant of a request, setsid and double fork or not (cgroups(7)).

Decides where selcgi's part of the hierarchy is, and which leaf a request gets. BASE/supervisor holds the supervisor,
BASE/worker-N/home a worker, BASE/worker-N/leaf-K one request at a time. No controller is switched on: the tree only
says who belongs together. Must not launch. Used by launch/cold.py, serve/supervisor.py and system/runtree.py.

Waiting: cgroup.events tells by POLLPRI that "populated" has changed, which an event loop that asks for POLLIN never
sees. Each leaf therefore has an epoll of its own, readable when one of its members is ready; the script's pidfd is
put in there too. The kernel sends at most one such notice in 10 ms (cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV), so
populated() is also asked whenever the script itself has ended: without background processes nothing waits.
"""

import contextlib
import os
import select
import time
from pathlib import Path

from selcgi.errors import StartRefused, launch_failed
from selcgi.system.posixspawn import takes_newborn

_END_SECONDS = 10.0  # for killed processes to be gone; one that is still there waits in the kernel
_DELEGATED = ("trusted.delegate", "user.delegate")  # systemd's mark, set to 1 for Delegate=yes (systemd cgroup-setup)


class Leaf:
    """One cgroup for the processes of one request. `wake` is readable when something has become of them. A process
    can be born in `directory`, by O_PATH; -1 where it must be moved here, by inside()."""

    def __init__(self, path: Path, home: int, newborn: bool) -> None:
        """`home` is cgroup.procs of the worker's own cgroup, open for writing and owned by the pool. OSError."""
        self.path = path
        self.name = f"/{path.parent.name}/{path.name}"  # what paths of its members end with in /proc/PID/cgroup
        self.spent = False  # some kernels kill at once what is born where a kill ever was (seen with 7.2: kill_seq)
        self._home = home
        with contextlib.ExitStack() as on_failure:
            self.directory = _open(path, os.O_PATH | os.O_DIRECTORY, on_failure) if newborn else -1
            self._procs = _open(path / "cgroup.procs", os.O_WRONLY, on_failure)
            self._kill = _open(path / "cgroup.kill", os.O_WRONLY, on_failure)
            self._events = _open(path / "cgroup.events", os.O_RDONLY, on_failure)
            self._epoll = select.epoll(2)
            self._epoll.register(self._events, select.EPOLLPRI)
            on_failure.pop_all()
        self.wake = self._epoll.fileno()

    def inside(self) -> "Leaf":
        """A context manager: the caller is a member of the leaf, and so is every process that it starts meanwhile.

        LaunchFailed("enter_leaf") or LaunchFailed("leave_leaf"). A worker that can't leave is killed with the
        script by the kill() that follows; its supervisor starts another.
        """
        return self

    def __enter__(self) -> None:
        try:
            os.write(self._procs, b"0")
        except OSError as error:
            raise launch_failed("enter_leaf", f"cannot enter {self.path}", error, CGROUP_FIX) from error

    def __exit__(self, *_: object) -> None:
        try:
            os.write(self._home, b"0")
        except OSError as error:
            raise launch_failed("leave_leaf", f"cannot leave {self.path}", error, CGROUP_FIX) from error

    def watch(self, pidfd: int) -> None:
        """`wake` is readable when the process of `pidfd` has ended, until the caller closes `pidfd`."""
        self._epoll.register(pidfd, select.EPOLLIN)

    def kill(self) -> None:
        """SIGKILL to every member, those that are being forked included; needs no right to signal them."""
        self.spent = self.directory >= 0
        os.write(self._kill, b"1")

    def populated(self) -> bool:
        """True while a member is left that is not a zombie. Also takes in the notice of its last change."""
        return b"populated 1" in os.pread(self._events, 256, 0)

    def close(self) -> None:
        self._epoll.close()
        for descriptor in (self.directory, self._procs, self._kill, self._events):
            if descriptor >= 0:
                os.close(descriptor)


class Leaves:
    """The leaves of one worker. Made in the worker itself, which it moves into the worker's home.

    As many leaves are there as requests run at once, which the worker bounds; they are used again until spent.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the worker's part of the tree, made if it is missing. StartRefused when it can't be used."""
        self._path = path
        self.scripts: set[int] = set()  # pids in the leaves that their requests will reap
        self._made = 0
        self._free: list[Leaf] = []
        self._ending: list[Leaf] = []  # given back while a killed process was still on its way out
        try:
            (path / "home").mkdir(parents=True, exist_ok=True)
            self._home = os.open(path / "home" / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._home, b"0")
            self._newborn = _takes_newborn(path / "home")
        except OSError as error:
            raise StartRefused(f"cannot set up the cgroup {path}: {error.strerror}", CGROUP_FIX) from error

    def lease(self) -> Leaf:
        """An empty leaf. LaunchFailed("lease_leaf")."""
        try:
            self._sort_ended()
            return self._free.pop() if self._free else self._make()
        except OSError as error:
            raise launch_failed("lease_leaf", f"no leaf below {self._path}", error, CGROUP_FIX) from error

    def give_back(self, leaf: Leaf) -> None:
        """For the next request, as soon as it is empty; never before."""
        if leaf.populated():
            self._ending.append(leaf)
        elif leaf.spent:
            leaf.close()
            with contextlib.suppress(OSError):  # then it goes with the worker's part of the tree
                leaf.path.rmdir()
        else:
            self._free.append(leaf)

    def close(self) -> None:
        """Close the descriptors. The directories go with Tree.kill_worker() or Tree.remove()."""
        for leaf in (*self._free, *self._ending):
            leaf.close()
        self._free, self._ending = [], []
        os.close(self._home)

    def _sort_ended(self) -> None:
        ending, self._ending = self._ending, []
        for leaf in ending:
            self.give_back(leaf)

    def _make(self) -> Leaf:
        """A new one; a directory left by an earlier worker is used once its last process is gone."""
        while True:
            path = self._path / f"leaf-{self._made}"
            path.mkdir(exist_ok=True)
            leaf = Leaf(path, self._home, self._newborn)
            self._made += 1
            if not leaf.populated():
                return leaf
            self._ending.append(leaf)


class Tree:
    """Selcgi's part of the hierarchy, owned by the supervisor, which moves into it."""

    def __init__(self, base: Path) -> None:
        """StartRefused when `base` can't be used, or another selcgi does."""
        self.path = base
        self._origin = own_cgroup()
        home = base / "supervisor"
        try:
            home.mkdir(exist_ok=True)
            if _populated(home):
                raise StartRefused(f"another selcgi uses the cgroup {base}", "give each its own --cgroup")
            for left in base.glob("worker-*"):  # of a selcgi that was killed
                end_cgroup(left)
            (home / "cgroup.procs").write_bytes(b"0")
        except OSError as error:
            raise StartRefused(f"cannot set up the cgroup {base}: {error.strerror}", CGROUP_FIX) from error

    def leaves(self, number: int) -> Leaves:
        """For worker `number`, which calls this itself after the fork. StartRefused."""
        return Leaves(self.path / f"worker-{number}")

    def kill_worker(self, number: int) -> bool:
        """End whatever is left of the dead worker `number` and its requests. Blocks; False when some of it is still
        there after 10 s: it waits in the kernel, and its leaves are not used again before it is gone."""
        path = self.path / f"worker-{number}"
        return not path.exists() or end_cgroup(path)

    def remove(self) -> None:
        """Go back to where the supervisor was, and end and remove all else. Best effort, at the very end."""
        with contextlib.suppress(OSError):
            ((self._origin or self.path) / "cgroup.procs").write_bytes(b"0")
            for path in self.path.glob("worker-*"):
                end_cgroup(path)
            (self.path / "supervisor").rmdir()


CGROUP_FIX = "systemd: Delegate=yes in the unit; else give selcgi's user the directory (cgroups(7)), or --cgroup none"


def open_tree(mode: str) -> Tree | None:
    """For --cgroup `mode`: auto, none, or a path. None: requests need a guard each. StartRefused for an unfit path."""
    base = find_base(mode)
    return None if base is None else Tree(base)


def find_base(mode: str) -> Path | None:
    """What was delegated by --cgroup `mode`. StartRefused for an unfit path."""
    if mode == "none":
        return None
    if mode == "auto":
        base = own_cgroup()
        return None if base is None or not _is_delegated(base) or unfit(base) else base
    reason = unfit(Path(mode))
    if reason:
        raise StartRefused(f"--cgroup {mode}: {reason}", CGROUP_FIX)
    return Path(mode)


def own_cgroup() -> Path | None:
    """This process's cgroup v2 directory; None when no mount shows it."""
    lines = Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::/")), None)
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return None if own is None else find_directory(own, mounts)


def find_directory(own: str, mounts: list[str]) -> Path | None:
    """Where the cgroup `own`, as /proc/self/cgroup has it, is seen by one of the lines of mountinfo.

    proc_pid_mountinfo(5): field 4 is what of the hierarchy is mounted, field 5 where, the type comes after " - ".
    """
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after.split(" ")[0] != "cgroup2" or len(fields) < 5:
            continue
        root, point = (_unescaped(field) for field in fields[3:5])
        if own == root or own.startswith(root.rstrip("/") + "/"):
            return Path(point) / own[len(root) :].lstrip("/")
    return None


def unfit(path: Path) -> str:
    """Why `path` can't be selcgi's base, empty when it can."""
    if not (path / "cgroup.procs").exists():
        return "is no cgroup v2 directory"
    if not (path / "cgroup.events").exists():
        return "is the root of the hierarchy, which can't be delegated"
    if not (path / "cgroup.kill").exists():
        return "has no cgroup.kill (Linux 5.14 and later)"
    if not (os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)):
        return "is not writable for selcgi"
    return "has no supervisor of its own" if (path / "cgroup.type").read_text().strip() != "domain" else ""


def _is_delegated(path: Path) -> bool:
    """Given to us on purpose: marked so by systemd, or owned by our user. Root could write to any, so must be told."""
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return os.geteuid() != 0 and path.stat().st_uid == os.geteuid()


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _open(path: Path, flags: int, on_failure: contextlib.ExitStack) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    on_failure.callback(os.close, descriptor)
    return descriptor


def _takes_newborn(path: Path) -> bool:
    directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return takes_newborn(directory)
    finally:
        os.close(directory)


def _populated(path: Path) -> bool:
    return "populated 1" in (path / "cgroup.events").read_text()


def end_cgroup(path: Path) -> bool:
    """Kill all below `path`, wait until nothing is left, remove it. False when something stays; OSError."""
    (path / "cgroup.kill").write_bytes(b"1")
    if not _is_emptied(path):
        return False
    for below in sorted((each for each in path.rglob("*") if each.is_dir()), reverse=True):
        below.rmdir()
    path.rmdir()
    return True


def _is_emptied(path: Path) -> bool:
    deadline = time.monotonic() + _END_SECONDS
    with (path / "cgroup.events").open("rb", buffering=0) as events:
        change = select.poll()
        change.register(events, select.POLLPRI)
        while b"populated 1" in os.pread(events.fileno(), 256, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            change.poll(left * 1000)
    return True
