"""A request in a fork of a warm interpreter: from a Plan to a Running whose process a zygote makes.

Decides when the script may begin: once its process is known here and watched, it gets its job; and when it is believed:
once the kernel shows it in its context, as after a fresh start. A zygote that is gone costs one more try. What comes
after is a LeafRunning's. Must not block or log. Made by launch/cold.py.
"""

import os
import time
from contextlib import suppress

from selcgi.errors import ContextLost, LaunchFailed, LaunchStarved, ZygoteFailed
from selcgi.launch.channel import Channel, Report, no_report
from selcgi.launch.child import to_rlimits
from selcgi.launch.leafed import LeafRunning
from selcgi.launch.spawn import check_limits, spawn
from selcgi.launch.steps import STEPS, failed
from selcgi.launch.streams import Streams
from selcgi.launch.zygote import Zygote, ZygoteGone
from selcgi.launch.zygotes import Zygotes
from selcgi.plan import Exit, Plan
from selcgi.system.leaves import Leaf
from selcgi.system.processes import is_child, look_at, reap
from selcgi.zygote.frames import BORN, STARVED, STUCK, Job

_TRIES = 2
_FAILURES = {STUCK: LaunchFailed, STARVED: LaunchStarved}


class WarmRunning:
    """See launch/running.py for what each member promises. It owns `streams.theirs` until the process has them."""

    def __init__(self, plan: Plan, streams: Streams, zygotes: Zygotes, leaf: Leaf) -> None:
        """LaunchFailed: nothing of it runs, and the leaf and the streams are still the caller's."""
        check_limits(plan.limits)
        self.pid = self.root = 0
        self.cgroup = leaf.name
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self.wake = leaf.wake
        self._plan, self._streams = plan, streams
        self._zygotes, self._labels, self._leaves, self._leaf = zygotes, zygotes.labels, zygotes.leaves, leaf
        self._channel: Channel | None = None
        self._tries = 0
        self._waited_for: list[int] = []  # pids of zygotes
        self._asked: tuple[Zygote, float] | None = None  # and when
        self._began = 0.0  # seconds since the epoch: its process is there, and waits for no zygote
        # Another user's zygote may put nothing into a cgroup of selcgi's: its child is moved there before it begins.
        self._born_inside = plan.account is None
        self._process: LeafRunning | None = None
        self._error: LaunchFailed | None = None
        self._confirmed = self._killed = self._empty = False
        self.warm = True
        try:
            self._ask()
        except BaseException:
            self._disconnect()
            leaf.spent = True  # a zygote may have been asked, and still find it
            raise

    def _ask(self) -> None:
        """Have a zygote make the process; a fresh program instead, where that is wanted and no zygote can be had."""
        try:
            self._lend()
        except ZygoteFailed as error:
            self._disconnect()
            if isinstance(error, ZygoteGone) and self._tries < _TRIES:
                self._ask()
            else:
                self._go_without(error)

    def _lend(self) -> None:
        self._tries += 1
        zygote = self._zygotes.get(self._plan)
        self._waited_for.append(zygote.pid)
        try:
            self._channel = channel = Channel()
        except OSError as error:
            raise failed("zygote", error) from error
        script, opened = self._plan.script, -1
        with channel.theirs:
            try:
                # One that is kept open for many requests: each reads from a position of its own.
                opened = os.open(b"/proc/self/fd/%d" % script.descriptor, os.O_RDONLY | os.O_CLOEXEC)
                own = (*self._streams.theirs, script.directory, opened, channel.theirs.fileno())
                lent = (*own, self._leaf.birthplace()) if self._born_inside else own
                self._asked = zygote, self._zygotes.lend(zygote, lent)
                self._leaf.watch(channel.fileno())
            except OSError as error:
                raise failed("zygote", error) from error
            finally:
                if opened >= 0:
                    os.close(opened)
        self._leaves.scripts.expecting.add(self._learn)
        if self._tries > 1:
            self._zygotes.retried()

    def _go_without(self, error: ZygoteFailed) -> None:
        if self._plan.warm is None or not self._plan.warm.fallback:
            raise error
        self._zygotes.fell_back(self._plan, error)
        self.warm = False
        pid = spawn(self._plan, self._streams.theirs, self._labels, self._leaf, lambda _: self._leaf.kill())
        self._born(None, pid)
        self._confirmed = True

    def _learn(self) -> None:
        """Take in what the channel has, as far as it says which process is ours. It is left open at its end: not only
        poll() calls this, and `wake` must then tell that there is something for poll(), or more to read."""
        channel = self._channel
        if channel is None or channel.over or self._error is not None:
            return
        try:
            for report in channel.read():
                self._answered()
                self._take(channel, report)
            if channel.over:
                self._answered()
        except LaunchFailed as error:  # for poll() to tell; a child finds no job, and ends
            self._error = error
            channel.hang_up()

    def _answered(self) -> None:
        if self._asked is not None:
            zygote, asked = self._asked
            zygote.answered(asked)
            self._asked = None

    def _take(self, channel: Channel, report: Report) -> None:
        """It is born once, or it says why not; after that nothing is read."""
        kind = _FAILURES.get(report.name)
        if kind is not None and len(report.texts) == len(("step", "reason", "fix")):
            step, *texts = report.texts
            raise kind(step if step in STEPS else "zygote", *texts)
        if report.name != BORN or self._process is not None:
            raise no_report()
        self._born(channel, report.sender)
        self._zygotes.forked()
        plan, own = self._plan, self._labels.own
        context = "" if own is None else str(plan.context)
        channel.send(Job(plan.argv, plan.environ, context, to_rlimits(plan.limits), plan.limits.nice))

    def _born(self, channel: Channel | None, pid: int) -> None:
        """It is watched from here on; if it can't be, it ends. It holds its streams by itself."""
        if not pid or self._leaves.scripts.has(pid) or not is_child(pid):
            raise LaunchFailed("zygote", f"a child was reported by process {pid}, which is none of this request")
        try:
            if not self._born_inside and channel is not None:
                self._leaf.take(pid)
            self._leaves.slow(self._leaf, self._plan.limits)
            self._process = LeafRunning(pid, self._streams, self._leaves, self._leaf, by_leaf=True)
        except (OSError, LaunchFailed) as error:
            if channel is not None:  # one that is not in the leaf yet waits for its job
                channel.hang_up()
            self._leaf.end(pid)
            with suppress(ChildProcessError):
                reap(pid, wait=self._leaf.holds(pid))
            raise error if isinstance(error, LaunchFailed) else failed("wait", error) from error
        self.pid = self.root = pid
        self._began = time.time()
        self._leaves.scripts.expecting.discard(self._learn)
        self._streams.close_theirs()

    def _ended(self, *, untaken: bool) -> None:
        """The end of the channel: the child is in its context, or there is none. `untaken`: it has not read its job."""
        if untaken:
            raise LaunchFailed("zygote", "the warm interpreter's child ended before it took the request")
        if self._process is not None:
            try:
                self._labels.confirm(self.pid, self._plan.context)
            except ContextLost as error:
                raise _explain_loss(self.pid, error) from error
            self._confirmed = True
        elif self._tries < _TRIES:
            self._ask()
        else:
            reason = "two warm interpreters ended before they took the request"
            self._go_without(ZygoteFailed(reason, "see their lines in the log"))

    def _disconnect(self) -> None:
        """Nothing of what it has brought, or would have, counts any more."""
        self._leaves.scripts.expecting.discard(self._learn)
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def poll(self) -> None:
        self._learn()
        if ended := self._has_ended():
            self._learn()  # what it has said last
        if self._channel is not None and self._error is None and (ended or self._channel.over):
            untaken = self._channel.untaken()
            self._disconnect()
            self._ended(untaken=untaken)
        error, self._error = self._error, None
        if error is not None:
            self._disconnect()
        if self._process is not None and self._channel is None:
            self._process.poll()
        else:  # one that has ended since is reaped once it has been looked at
            self._empty = not self._leaf.populated()
        if error is not None:
            raise error

    def _has_ended(self) -> bool:
        """The child, which so has closed its end of the channel, whoever has another of it open still: its zygote may
        not have come to that, and what it has loaded may want its answer to be believed unseen. It is looked at before
        it is reaped."""
        if self._process is None or self._channel is None:
            return False
        try:
            return look_at(self.pid) is not None
        except ChildProcessError:  # something else has reaped it
            return True

    def waited_for(self, pid: int, when: float) -> bool:
        return pid in self._waited_for and (not self._began or when <= self._began)

    @property
    def confirmed(self) -> bool:
        return self._confirmed

    @property
    def exit(self) -> Exit | None:
        return None if self._process is None else self._process.exit

    @property
    def met(self) -> str:
        return "" if self._process is None else self._process.met

    @property
    def gone(self) -> bool:
        return self._process.gone if self._process is not None else self._killed and self._empty

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """A zygote that has not taken the request yet finds no end of the channel, and no cgroup to be born in. None is
        asked again, since the channel is not heard any more."""
        self._killed = True
        if self._process is None:
            self._disconnect()
            if self._asked is not None:
                zygote, asked = self._asked
                zygote.spared(asked)
            self._leaf.kill()
        else:
            self._process.kill()

    def close(self) -> None:
        self._disconnect()
        if self._process is not None:
            self._process.close()
            return
        self._streams.close_theirs()
        self.kill()
        self._leaves.give_back(self._leaf)


def _explain_loss(pid: int, lost: ContextLost) -> LaunchFailed:
    """One that has ended has lost no context: it never was in it. It is left for its LeafRunning to reap."""
    with suppress(ChildProcessError):
        found = look_at(pid)
        if found is not None:
            how = "with status" if found.si_code == os.CLD_EXITED else "by signal"
            reason = f"the warm interpreter's child ended {how} {found.si_status} before it was in its context"
            return LaunchFailed("zygote", reason, "see its lines in the log; raise memory= in the rule if there is one")
    return lost
