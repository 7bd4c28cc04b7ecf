"""One script's run as refusals of the kernel find it: when it ran, as what, and what has been found of it so far.

Decides whether a refusal is this one's, and how sure that is: by the process itself, by those it descends from, by its
cgroup; once the process has ended, by the context that it ran in. Bounded: so many different refusals are kept, the
rest are counted. Held by serve/denials.py.
"""

from dataclasses import dataclass, field
from pathlib import PurePath

from selcgi.launch.running import Running
from selcgi.serve.accesslog import Entry
from selcgi.system.audit import Denial
from selcgi.system.lineage import Lineage
from selcgi.system.policy import Policy
from selcgi.system.refusals import explain

_COMM = 15  # characters of a program's name that the kernel keeps: TASK_COMM_LEN
MOST = 8  # different refusals of a request that are told
_EARLY, _LATE = 0.05, 0.02  # seconds that a record's clock, which ticks with the scheduler's, may be off


@dataclass(slots=True, eq=False)
class Case:
    """`began` and `ended` are seconds since the epoch; `ended` is 0 while it runs. `running` is None until it was
    launched, and for a launch that failed."""

    entry: Entry
    context: str
    zygote: str  # the context of the warm interpreter whose child it shall be; empty for none
    began: float
    running: Running | None = None
    failed: int = 0  # pid of the warm interpreter whose start has failed, before this request came, and so this one's
    ended: float = 0.0
    more: int = 0
    _found: dict[tuple[object, ...], tuple[Denial, bool]] = field(default_factory=dict)

    @property
    def contexts(self) -> tuple[str, ...]:
        """Those in which something may be refused for its sake."""
        return (self.context, self.zygote) if self.zygote else (self.context,)

    def covers(self, when: float) -> bool:
        return self.began - _EARLY <= when and (not self.ended or when <= self.ended + _LATE)

    def is_of(self, pid: int) -> bool:
        return self.running is not None and pid in (self.running.pid, self.running.root)

    def met(self, pid: int) -> bool:
        return pid != 0 and pid == self.failed

    def waited_for(self, pid: int, when: float) -> bool:
        """What the modules of a warm interpreter are refused while they are loaded concerns all who wait for it, and
        those who came too late to do so."""
        if self.met(pid):
            return True
        return self.running is not None and self.running.waited_for(pid, when - _LATE)

    def holds(self, found: Lineage) -> bool:
        """While it runs: afterwards another request may have its cgroup, and its processes are gone."""
        if self.running is None or self.ended:
            return False
        if self.running.cgroup:
            return found.cgroup.endswith(self.running.cgroup)
        return any(map(self.is_of, found.pids))

    def add(self, denial: Denial, sure: bool, skipped: int) -> None:
        self.more += skipped
        if denial.same in self._found or len(self._found) >= MOST:
            self.more += 1
        else:
            self._found[denial.same] = denial, sure

    def sentences(self, policy: Policy) -> tuple[str, ...]:
        """All of it, at most MOST and one that counts the rest."""
        told = [self.sentence(denial, sure, policy) for denial, sure in self._found.values()]
        rest = [f"and {self.more} more like these"] if self.more else []
        return (*told, *rest)

    def sentence(self, denial: Denial, sure: bool, policy: Policy) -> str:
        text = str(explain(denial, self._who(denial), policy))
        return text if sure else f"probably of this request: {text}"

    def _who(self, denial: Denial) -> str:
        script = PurePath(self.entry.script).name
        if denial.source == self.zygote:
            return f"the warm interpreter of {script}"
        if denial.source != self.context:
            return "selcgi"
        user = f"{self.entry.user}'s" if self.entry.user else "nobody known's"
        program = "" if denial.comm == script[:_COMM] else f", by its program {denial.comm},"
        return f"{user} script {script}{program}"
