"""From the settings of a site to the scene that the doctor's checks are asked about.

Decides as what selcgi would run (as init would start it) and how much is looked at; what is left out is said. The
policy and the labels are the caller's: of the running kernel, or of files. Called by cli/doctor.py and cli/explain.py;
the running service makes a scene of its own (serve/preflight.py).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selcgi.context import LAUNCHER, Context, ContextSpec
from selcgi.diagnose.fault import WHERE_MOST, Fault
from selcgi.diagnose.scene import Launcher, Remembered, Scene, Warmth, Why, resolve
from selcgi.diagnose.survey import FILES_MOST, Survey, doors
from selcgi.errors import PolicyUnreadable, StartRefused
from selcgi.mapping.categories import BANDS, Bands
from selcgi.mapping.index import Index
from selcgi.mapping.table import Table
from selcgi.settings import Settings
from selcgi.system.accounts import ACCOUNTS_MOST, unusable
from selcgi.system.binding import find_binding
from selcgi.system.facts import Facts, KernelFacts, not_enforced, not_there, read_facts
from selcgi.system.labelling import Labelling
from selcgi.system.mapfile import read_mapfile_bytes
from selcgi.system.policy import Policy
from selcgi.system.policyfile import KERNEL, PolicyFile, open_policy_file
from selcgi.system.reason import Reason

CONTEXTS_MOST = 4096  # distinct ones of a mapping
_MAP_BYTES = 16 << 20  # of several mapping files whose rules are compared with one another; of one alone few are
_THERE = (
    "whether the kernel enforces, and with this policy",
    "the labels that files have there, and mounts with nosuid, noexec or without labels",
    "the programs, the accounts of uid=, and the mapping file's own label",
)
_NOTHING_CONFINES = "selcgi does not start; without that check every script would run unconfined"

_BY_A_FILE = Fault(
    "kernel",
    "note",
    "a mapping can be checked without SELinux, by the policy of the machine that it is for",
    "nothing was looked at",
    "selcgi doctor --policy FILE, and --file-contexts FILE for its scripts",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about. `specs`: contexts of the mapping; `clashes`: those with categories that `bands` give to
    somebody, the place of each, and how; `warm`: domains of those with warm=; `accounts`: those of
    uid=, each with its place. `program`, `listener`, `zygote`: paths of the installed programs, empty for none.

    `elsewhere`: it will run on another machine, and this one's mounts, programs and labels do not matter; `prefix`: the
    folder that stands for that machine's root, empty for this one's.
    """

    settings: Settings
    specs: Iterable[tuple[ContextSpec, str]]
    program: str
    listener: str
    zygote: str = ""
    bands: Bands = BANDS
    clashes: Iterable[tuple[ContextSpec, str, str]] = ()
    warm: frozenset[str] = frozenset()
    accounts: Iterable[tuple[str, str]] = ()
    kernel: KernelFacts | None = None
    elsewhere: bool = False
    prefix: str = ""


def kernel_faults() -> tuple[Facts | None, tuple[Fault, ...]]:
    """What is wrong with SELinux on this system; without Facts nothing else can be asked."""
    try:
        facts = read_facts(find_binding)
    except StartRefused as error:
        return None, (_kernel_fault(error), _BY_A_FILE)
    if missing := not_there(facts):
        return None, (_kernel_fault(missing), _BY_A_FILE)
    loose = None if facts.enforcing else not_enforced(facts)
    return facts, (_kernel_fault(loose),) if loose else ()


def _kernel_fault(error: StartRefused) -> Fault:
    return Fault("kernel", "fatal", error.reason, _NOTHING_CONFINES, error.fix)


def stage(policy: Policy, labelling: Labelling, subject: Subject, why: Why) -> Scene:
    """Look at everything. PolicyUnreadable when the policy gives no answers."""
    policy = Remembered(policy)
    own, settings = launcher_context(policy), subject.settings
    survey = Survey(labelling, settings.environ.path, mounts=not subject.elsewhere, prefix=subject.prefix)
    specs = tuple(islice(subject.specs, CONTEXTS_MOST + 1))
    accounts = () if subject.elsewhere else tuple(islice(subject.accounts, ACCOUNTS_MOST + 1))
    scripts = survey.scripts(map(str, settings.roots))
    dead, omitted = _dead_rules(settings)
    return Scene(
        policy=policy,
        launcher=Launcher(own),
        mapped=resolve(policy, own, specs[:CONTEXTS_MOST]),
        scripts=scripts,
        doors=doors(survey, settings.listeners),
        trusted=tuple(survey.file(path) for path in _trusted(subject)),
        roots=tuple(survey.file(str(root)) for root in settings.roots),
        program=survey.file(subject.program) if os.path.exists(subject.program) else None,  # noqa: PTH110
        listener=survey.file(subject.listener) if os.path.exists(subject.listener) else None,  # noqa: PTH110
        warmth=Warmth(subject.warm, program=survey.script(subject.zygote) if subject.zygote else None),
        shut=tuple(survey.shut.items()),
        unseen=tuple(survey.unseen),
        dead=dead,
        bands=subject.bands,
        clashes=tuple(where for _, where, _ in islice(subject.clashes, WHERE_MOST)),
        accounts=tuple(unusable(accounts)),
        omitted=(*omitted, *_omitted(specs, accounts, survey)),
        there=_THERE if subject.elsewhere else (),
        kernel=subject.kernel,
        why=why,
    )


def launcher_context(policy: Policy) -> Context:
    """As which the service runs, with a range where the policy has ranges."""
    bare = Context(LAUNCHER.user, LAUNCHER.role, LAUNCHER.domain)
    return bare if policy.canonical(str(LAUNCHER)) is None and policy.canonical(str(bare)) else LAUNCHER


def _trusted(subject: Subject) -> Iterator[str]:
    """Where the mapping will lie on another machine is not known."""
    settings = subject.settings
    if not subject.elsewhere:
        yield from (str(path) for path in settings.maps if isinstance(path, Path))
    yield from (str(one.proof_file) for one in settings.listeners if one.proof_file is not None)


def _dead_rules(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The places of rules that nothing reaches, by all files as if they were one; and what was too long to compare."""
    files = [path for path in settings.maps if isinstance(path, Path)]
    if files[1:] and sum(path.stat().st_size for path in files if path.exists()) > _MAP_BYTES:
        return (), (f"mapping files of more than {_MAP_BYTES >> 20} MB: their rules are not compared with one another",)
    table = Table(Index(read_mapfile_bytes(path), str(path)) for path in files)
    return tuple(rule.where for rule in table.dead()), ()


def _omitted(specs: tuple[object, ...], accounts: tuple[object, ...], survey: Survey) -> Iterator[str]:
    if len(specs) > CONTEXTS_MOST:
        yield f"the mapping has more than {CONTEXTS_MOST} contexts: the first {CONTEXTS_MOST} were looked at"
    if len(accounts) > ACCOUNTS_MOST:
        yield f"the mapping has more than {ACCOUNTS_MOST} accounts (uid=): the first {ACCOUNTS_MOST} were looked up"
    if survey.seen >= FILES_MOST:
        yield f"there are more than {FILES_MOST} files beneath the roots: the first {FILES_MOST} were looked at"


def why_by_kernel(held: ExitStack, policy: Policy, asking: str) -> Why:
    """Reads the loaded policy when something is denied for the first time, which takes a moment. None without the right
    to, which selcgi_t does not have. `asking` is the context of this process."""
    opened: list[PolicyFile | None] = []

    def why(source: str, target: str, classname: str, permissions: Iterable[str]) -> Reason | None:
        if not opened:
            opened.append(_open_kernels(held) if _may_read(policy, asking) else None)
        return opened[0].why(source, target, classname, permissions) if opened[0] else None

    return why


def _may_read(policy: Policy, asking: str) -> bool:
    """Asked first, for a refusal would be a line in the audit log."""
    security = f"system_u:object_r:security_t{':s0' if asking.count(':') > 2 else ''}"
    return "read_policy" in policy.vector(asking, security, "security").allowed


def _open_kernels(held: ExitStack) -> PolicyFile | None:
    try:
        return held.enter_context(open_policy_file(KERNEL))
    except PolicyUnreadable:
        return None
