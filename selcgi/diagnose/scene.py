"""All that the doctor's checks look at, as values: the policy, who launches, who is launched, and the files.

Decides nothing; a check gets this and nothing else, so it asks a kernel, a policy file and a test's fake alike. Scripts
are grouped by all that a question depends on: cost grows with labels, not with files.
Built by diagnose/staging.py, serve/preflight.py and tests.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from selcgi.context import Context, ContextSpec
from selcgi.errors import SelcgiError
from selcgi.mapping.categories import BANDS, Bands
from selcgi.system.facts import KernelFacts
from selcgi.system.policy import Policy, Vector
from selcgi.system.preflight import SCRIPT_TYPE, Attempt, is_foreign
from selcgi.system.reason import Reason

# source, target, class, the denied permissions; None where the whole policy can't be read
Why = Callable[[str, str, str, Iterable[str]], Reason | None]


@dataclass(frozen=True, slots=True)
class Launcher:
    """selcgi as it runs or would run. `pipe`: the label of its pipes, empty for its own context."""

    context: Context
    pipe: str = ""
    no_new_privileges: bool = True


@dataclass(frozen=True, slots=True)
class Resolved:
    """A context that the mapping gives, `canonical` by the policy or None; `where` is file:line of its first rule."""

    wanted: Context
    canonical: Context | None
    where: str


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder that matters. Labels are empty when there is none; `expected` is what file contexts say."""

    path: str
    label: str
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A mounted file system. Not `labels`: it keeps none of its own, every file has the same one."""

    path: str = "/"
    nosuid: bool = False
    noexec: bool = False
    labels: bool = True


@dataclass(frozen=True, slots=True)
class Scripts:
    """Scripts that differ in their names only. Not `readable`: what they are run by is not known."""

    label: str
    expected: str = ""
    interpreter: File | None = None
    program: File | None = None  # that an interpreter env(1) starts
    folders: tuple[File, ...] = ()
    place: Place = Place()
    readable: bool = True
    paths: tuple[str, ...] = ()  # the first of them
    count: int = 1


@dataclass(frozen=True, slots=True)
class Warmth:
    """Domains whose scripts run in forks of a warm interpreter: those in `sure` in no other way, those in `perhaps` in
    part, or else by a fresh program. `program`: the interpreter's own, None where it is not looked for."""

    sure: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    program: Scripts | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """A listener. `socket` is None where its file is made by another, and for TCP; `hidden`: its label keeps it from
    being looked at."""

    address: str
    peer_types: tuple[str, ...] = ()
    folder: File | None = None
    socket: File | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """`program`: what init starts. `trusted`: files that selcgi believes. `omitted`: what was not looked at. `unseen`:
    files beneath the roots whose labels keep them from being looked at.

    `clashes`: places of rules with categories that `bands` give to somebody. `accounts`: places of rules whose uid= no
    script can run as, and why. `shut`: folders of scripts, and why they cannot be listed. `there`: what only the
    machine can say that selcgi will run on, and this is another.
    """

    policy: Policy
    launcher: Launcher
    mapped: tuple[Resolved, ...]
    scripts: tuple[Scripts, ...] = ()
    doors: tuple[Door, ...] = ()
    trusted: tuple[File, ...] = ()
    roots: tuple[File, ...] = ()
    program: File | None = None
    listener: File | None = None
    warmth: Warmth = Warmth()
    shut: tuple[tuple[str, str], ...] = ()
    unseen: tuple[File, ...] = ()
    dead: tuple[str, ...] = ()
    bands: Bands = BANDS
    clashes: tuple[str, ...] = ()
    accounts: tuple[tuple[str, SelcgiError], ...] = ()
    omitted: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    kernel: KernelFacts | None = None
    why: Why = field(default=lambda *_: None)

    @property
    def known(self) -> tuple[tuple[Context, str], ...]:
        """Contexts that the policy has, each with the place of its rule; without selcgi's own."""
        own = self.launcher.context.domain
        return tuple((one.canonical, one.where) for one in self.mapped if one.canonical and one.canonical.domain != own)

    @property
    def usable(self) -> tuple[tuple[Context, str], ...]:
        """Those that can be asked about: of a domain that is none for scripts, nothing would be granted."""
        first = {context.domain: context for context, _ in self.known}
        foreign = {domain for domain, context in first.items() if self.is_foreign(context)}
        return tuple((context, where) for context, where in self.known if context.domain not in foreign)

    def is_foreign(self, context: Context) -> bool:
        """Not, too, where a boolean would make it one for scripts."""
        own = self.launcher.context
        if not is_foreign(own, context, self.allows):
            return False
        cause = self.why(str(own), str(context), "process", ("transition",))
        return cause is None or cause.kind != "boolean"

    @property
    def script_labels(self) -> tuple[str, ...]:
        """Those of the scripts; with none in sight, that which the policy has for them."""
        found = {one.label for one in self.scripts if self.policy.canonical(one.label)}
        return tuple(sorted(found)) or (label_of_type(self.launcher.context, SCRIPT_TYPE),)

    def allows(self, source: str, target: str, classname: str, permissions: str) -> bool:
        """Whether all of `permissions`, a word each, are granted."""
        return set(permissions.split()) <= self.policy.vector(source, target, classname).allowed

    def attempt(self, context: Context, scripts: Scripts | None = None) -> Attempt:
        """Such a launch, as the questions of system/preflight.py want it."""
        launcher = self.launcher
        plain = Attempt(launcher.context, context, no_new_privileges=launcher.no_new_privileges, pipe=launcher.pipe)
        return plain if scripts is None else _with_script(plain, scripts)


def _with_script(plain: Attempt, scripts: Scripts) -> Attempt:
    interpreter, program = scripts.interpreter, scripts.program
    return replace(
        plain,
        path=scripts.paths[0] if scripts.paths else "a script",
        label=scripts.label,
        interpreter=interpreter.path if interpreter else "",
        interpreter_label=interpreter.label if interpreter else "",
        nosuid=scripts.place.nosuid,
        folders=tuple((folder.path, folder.label) for folder in scripts.folders),
        program=program.path if program else "",
        program_label=program.label if program else "",
    )


class Remembered:
    """A policy whose vectors are asked for once. For the length of one run: it never forgets."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._vectors: dict[tuple[str, str, str], Vector] = {}

    def vector(self, source: str, target: str, classname: str) -> Vector:
        key = source, target, classname
        if key not in self._vectors:
            self._vectors[key] = self._policy.vector(*key)
        return self._vectors[key]

    def canonical(self, context: str) -> str | None:
        return self._policy.canonical(context)

    def created(self, source: str, target: str, classname: str) -> str:
        return self._policy.created(source, target, classname)

    def serial(self) -> int:
        return self._policy.serial()


def resolve(policy: Policy, own: Context, specs: Iterable[tuple[ContextSpec, str]]) -> tuple[Resolved, ...]:
    """The contexts that rules give, with what is left open taken from selcgi's own."""
    found = []
    for spec, where in specs:
        wanted = spec.resolve(own)
        canonical = policy.canonical(str(wanted))
        found.append(Resolved(wanted, Context.parse(canonical) if canonical else None, where))
    return tuple(found)


def label_of_type(own: Context, name: str) -> str:
    """The label of a file of this type, at selcgi's own level."""
    return str(Context(own.user, "object_r", name, own.range))
