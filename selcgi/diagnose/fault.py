"""What `selcgi doctor` finds: what is wrong, what it would look like to a user, and what to do about it.

Decides how faults that differ only in where they were found become one, and what a check is: a small function over the
scene that yields faults. A check that crashes is a fault itself, so that no silence is taken for health.
Made by the checks of diagnose/, shown by cli/doctor.py, judged by serve/preflight.py.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from selcgi.diagnose.scene import Scene

Severity = Literal["fatal", "warning", "note"]  # cannot work or is not safe; works in part; for information
WHERE_MOST = 200  # places of one fault that are kept


@dataclass(frozen=True, slots=True)
class Fault:
    """`check` is a stable name. `where`: lines of the mapping and files. `silent`: the kernel keeps no record of it."""

    check: str
    severity: Severity
    what: str
    symptom: str
    fix: str
    where: tuple[str, ...] = ()
    silent: bool = False

    def __str__(self) -> str:
        places = f" ({self.where[0]}{', ..' if len(self.where) > 1 else ''})" if self.where else ""
        return f"{self.check}: {self.what}{places}: {self.symptom}; {self.fix}"


Work = Callable[[Scene], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Check:
    """`cheap`: asks about contexts only, not about files, so it runs at each start, reload and load of a policy."""

    name: str
    work: Work
    cheap: bool


def check(name: str, *, cheap: bool = False) -> Callable[[Work], Check]:
    return lambda work: Check(name, work, cheap)


def run(checks: Iterable[Check], scene: Scene) -> tuple[Fault, ...]:
    """The faults of all checks, those that cannot work first."""
    found = merged(fault for each in checks for fault in _run_one(each, scene))
    order = ("fatal", "warning", "note")
    return tuple(sorted(found, key=lambda fault: order.index(fault.severity)))


def _run_one(one: Check, scene: Scene) -> Iterator[Fault]:
    try:
        yield from one.work(scene)
    except Exception as error:  # of one check: the others still say what they find
        what = f"the check did not come to its end: {error!r}"
        yield Fault(one.name, "warning", what, "what it looks for may be there", "run it as root; else report it")


def merged(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Faults that are equal but for the place as one, in the order of the first."""
    places: dict[Fault, dict[str, None]] = {}
    for fault in faults:
        places.setdefault(replace(fault, where=()), {}).update(dict.fromkeys(fault.where))
    return tuple(replace(fault, where=tuple(where)[:WHERE_MOST]) for fault, where in places.items())
