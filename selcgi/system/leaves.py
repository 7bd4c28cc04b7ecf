"""The cgroups of one worker's requests, a leaf for each, used again and again; see cgroups.py for where they are.

Decides which leaf a request gets: an empty one that no other request has. Must not launch. Used by launch/.

Waiting: cgroup.events tells by POLLPRI that "populated" has changed, which an event loop that asks for POLLIN never
sees. Each leaf therefore has an epoll of its own, readable when one of its members is ready; the script's pidfd is
put in there too. The kernel sends at most one such notice in 10 ms (cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV), so
populated() is also asked whenever the script itself has ended: without background processes nothing waits.
"""

import contextlib
import os
import select
from collections.abc import Callable
from pathlib import Path

from selcgi.errors import StartRefused, launch_failed
from selcgi.plan import Limits
from selcgi.system.ceilings import Ceilings, is_clean
from selcgi.system.lineage import cgroup_of
from selcgi.system.posixspawn import takes_newborn
from selcgi.system.processes import is_child

CGROUP_FIX = "systemd: Delegate=yes in the unit; else give selcgi's user the directory (cgroups(7)), or --cgroup none"


class Leaf:
    """One cgroup for the processes of one request. `wake` is readable when something has become of them. A process
    can be born in `directory`, by O_PATH; -1 where it must be moved here, by `with` or by itself: `procs` is open
    for writing."""

    def __init__(self, path: Path, pool: "Leaves", newborn: bool) -> None:
        """OSError, and nothing is open then."""
        self.path = path
        self.name = f"/{path.parent.name}/{path.name}"  # what paths of its members end with in /proc/PID/cgroup
        self.confined = False  # by ceilings.py
        self._birthplace = -1
        # Linux 6.14 and later kill at once what a process of one cgroup makes in another, unless both have been killed
        # equally often: cgroup_css_set_fork() notes that number of the parent's cgroup, and cgroup_post_fork() compares
        # it with the child's (kernel/cgroup/cgroup.c, kill_seq). So where a kill was, nothing more is started.
        self.spent = False
        self.lent = False  # its directory to another process, which may have kept it
        self._pool = pool
        with contextlib.ExitStack() as on_failure:
            self.directory = _open(path, os.O_PATH | os.O_DIRECTORY, on_failure) if newborn else -1
            self.procs = _open(path / "cgroup.procs", os.O_WRONLY, on_failure)
            self._kill = _open(path / "cgroup.kill", os.O_WRONLY, on_failure)
            self._events = _open(path / "cgroup.events", os.O_RDONLY, on_failure)
            self._epoll = select.epoll(2)
            self._epoll.register(self._events, select.EPOLLPRI)
            on_failure.pop_all()
        self.wake = self._epoll.fileno()

    def __enter__(self) -> None:
        """Within the block the caller is a member of the leaf, and so is every process that it starts meanwhile.

        LaunchFailed("enter_leaf") or LaunchFailed("leave_leaf"). A worker that can't leave is killed with the
        script by the kill() that follows; its supervisor starts another.
        """
        try:
            self._pool.enter(self)
        except OSError as error:
            raise launch_failed("enter_leaf", f"cannot enter {self.path}", error, CGROUP_FIX) from error

    def __exit__(self, *_: object) -> None:
        try:
            self._pool.leave()
        except OSError as error:
            raise launch_failed("leave_leaf", f"cannot leave {self.path}", error, CGROUP_FIX) from error

    def take_worker(self) -> None:
        """Move the caller here. OSError."""
        os.write(self.procs, b"0")

    def take(self, pid: int) -> None:
        """Move a process here. OSError."""
        os.write(self.procs, b"%d" % pid)

    def watch(self, descriptor: int) -> None:
        """`wake` is readable when `descriptor` is, until unwatch(): of a pidfd, when its process has ended."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)

    def birthplace(self) -> int:
        """Its directory, open by O_PATH, for a process that is to be born here by another one. OSError."""
        self.lent = True
        if self.directory >= 0:
            return self.directory
        if self._birthplace < 0:
            self._birthplace = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._birthplace

    def kill(self) -> None:
        """SIGKILL to every member, those that are being forked included; needs no right to signal them."""
        self.spent = True
        os.write(self._kill, b"1")

    def holds(self, pid: int) -> bool:
        """By the kernel's word. False when it is not there, or may not be looked at."""
        return cgroup_of(pid).endswith(self.name)

    def end(self, pid: int) -> None:
        """kill(), and the child `pid` with them: code that is loaded warm may have had it born elsewhere, and without
        SELinux a script can move itself."""
        if is_child(pid) and not self.holds(pid):
            with contextlib.suppress(OSError):  # it has ended
                self.take(pid)
        self.kill()

    def populated(self) -> bool:
        """True while a member is left that is not a zombie. Also takes in the notice of its last change."""
        return b"populated 1" in os.pread(self._events, 256, 0)

    def close(self) -> None:
        self._epoll.close()
        for descriptor in (self.directory, self._birthplace, self.procs, self._kill, self._events):
            if descriptor >= 0:
                os.close(descriptor)


class Own(set[int]):
    """Pids in the leaves that somebody will reap. Whoever waits for a child of ours that another process makes, and
    does not know it yet, is in `expecting`: it is called before a pid is taken for nobody's."""

    def __init__(self) -> None:
        super().__init__()
        self.expecting: set[Callable[[], None]] = set()

    def has(self, pid: int) -> bool:
        """Whether it is somebody's that is known: for who has just learned of one, and must not ask in a circle."""
        return super().__contains__(pid)

    def __contains__(self, pid: object) -> bool:
        if not super().__contains__(pid):
            for learn in tuple(self.expecting):
                learn()
        return super().__contains__(pid)


class Leaves:
    """The leaves of one worker. Made in the worker itself, which it moves into the worker's home.

    As many leaves are there as requests run at once, which the worker bounds, and one more; they are used again until
    spent. A move is what costs most: where a process can't be born in its leaf, the worker leaves one for that of its
    next request, and waits there alone. Leaves of requests with ceilings are kept apart: the worker is never in one,
    and what a request has left in memory counts.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the worker's part of the tree, made if it is missing. StartRefused when it can't be used."""
        self._path = path
        self.scripts = Own()
        self._made = 0
        self._at: Leaf | None = None  # where the worker is; None: at home
        self._ahead: Leaf | None = None  # the same, when no request has it
        self._ceilings = Ceilings(path)
        self._confined: list[Leaf] = []  # free ones that have had ceilings
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
        leaf, self._ahead = self._ahead, None
        return leaf or self.lease_apart()

    def lease_apart(self) -> Leaf:
        """An empty leaf that the worker is not in, for what another process is to be born there. LaunchFailed."""
        try:
            self._sort_ended()
            return self._take(self._free)
        except OSError as error:
            raise launch_failed("lease_leaf", f"no leaf below {self._path}", error, CGROUP_FIX) from error

    def lease_for(self, limits: Limits, *, apart: bool = False) -> tuple[Leaf, Limits]:
        """An empty leaf that holds what it can of the limits, and the rest of them. LaunchFailed."""
        if not limits.for_all_together or not self._ceilings.can_hold(limits):
            return self.lease_apart() if apart else self.lease(), limits
        leaf = self._lease_confined()
        try:
            return leaf, self._ceilings.hold(leaf.path, limits)
        except BaseException:
            self.give_back(leaf)
            raise

    def slow(self, leaf: Leaf, limits: Limits) -> None:
        """The last of the limits, once something runs in the leaf that lease_for() gave for them. LaunchFailed."""
        if leaf.confined:
            self._ceilings.slow(leaf.path, limits)

    def _lease_confined(self) -> Leaf:
        try:
            self._sort_ended()
            leaf = self._take(self._confined)
        except OSError as error:
            raise launch_failed("lease_leaf", f"no leaf below {self._path}", error, CGROUP_FIX) from error
        leaf.confined = True
        return leaf

    def enter(self, leaf: Leaf) -> None:
        """The worker is in it from here on. OSError."""
        if leaf is not self._at:
            leaf.take_worker()
            self._at = leaf

    def leave(self) -> None:
        """The worker is in the leaf of no request any more. OSError: it is still where it was."""
        try:
            if not self._newborn:
                self._ahead = leaf = self._ahead or self._take(self._free)  # it has left that for one leased apart
                leaf.take_worker()
                self._at = leaf
                return
        except OSError:
            pass  # home is left
        os.write(self._home, b"0")
        self._at = None

    def give_back(self, leaf: Leaf, *, empty: bool = False) -> None:
        """For the next request, as soon as it is empty; never before. `empty`: it has been seen to be."""
        if leaf is self._at:  # nothing was started in it
            self._ahead = leaf
        elif not empty and leaf.populated():
            self._ending.append(leaf)
        elif leaf.spent or (leaf.confined and not is_clean(leaf.path)):
            leaf.close()
            with contextlib.suppress(OSError):  # then it goes with the worker's part of the tree
                leaf.path.rmdir()
        else:
            (self._confined if leaf.confined else self._free).append(leaf)

    def close(self) -> None:
        """Close the descriptors. The directories go with Tree.kill_worker() or Tree.remove()."""
        for leaf in (*self._free, *self._confined, *self._ending, *filter(None, (self._ahead,))):
            leaf.close()
        self._free, self._confined, self._ending, self._ahead = [], [], [], None
        os.close(self._home)

    def _take(self, free: list[Leaf]) -> Leaf:
        """One of these, or a new one. A warm interpreter may have kept the directory of one that it was lent, and have
        put something there since: no other request is to have that in its limits, or wait for its end."""
        while free:
            leaf = free.pop()
            if not (leaf.lent and leaf.populated()):
                return leaf
            leaf.kill()
            self._ending.append(leaf)
        return self._make()

    def _sort_ended(self) -> None:
        if self._ending:
            ending, self._ending = self._ending, []
            for leaf in ending:
                self.give_back(leaf)

    def _make(self) -> Leaf:
        """A new one; a directory left by an earlier worker is used once its last process is gone."""
        while True:
            path = self._path / f"leaf-{self._made}"
            path.mkdir(exist_ok=True)
            leaf = Leaf(path, self, self._newborn)
            self._made += 1
            if not leaf.populated():
                return leaf
            self._ending.append(leaf)


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
