"""Before the first request: would the loaded policy let this mapping's scripts run, and keep them apart?

Decides to refuse a start or a reload where it would not; --no-preflight goes on, and says so. A policy that is loaded
while selcgi runs is asked again: then the answer is in the log, and each request has its own. Asks about contexts
alone, no file, for what takes longer is `selcgi doctor`'s. Called by serve/supervisor.py.
"""

import logging
import os
from itertools import islice

from selcgi.diagnose.doctor import examine_cheaply
from selcgi.diagnose.fault import Fault
from selcgi.diagnose.scene import Door, Launcher, Remembered, Scene, Warmth, resolve
from selcgi.errors import PreflightFailed, SelcgiError
from selcgi.serve.site import Site
from selcgi.system.facts import read_kernel_facts
from selcgi.system.selinux import Labels
from selcgi.system.thread import no_new_privileges

LOG = logging.getLogger("selcgi")
PAUSE = 5.0  # seconds between two looks at the number of the loaded policy, which cost no system call
_CONTEXTS = 256  # asked about; the kernel keeps each for good, and each request asks about its own anyway
_ASKED_FOR = frozenset({"launcher", "permissive-domain"})  # by --selinux permissive-ok


def look(site: Site) -> tuple[Fault, ...]:
    """What the policy as it is now would do to the mapping of `site`; nothing with --selinux off."""
    labels = site.labels
    if labels.policy is None or labels.own is None:
        return ()
    policy = Remembered(labels.policy)
    specs = tuple(islice(site.table.specs(site.categories.bands), _CONTEXTS + 1))
    if len(specs) > _CONTEXTS:
        LOG.info(
            "preflight: of more than %d contexts the first %d were asked about: selcgi doctor", _CONTEXTS, _CONTEXTS
        )
    scene = Scene(
        policy=policy,
        launcher=Launcher(labels.own, _pipe_label(labels), no_new_privileges()),
        mapped=resolve(policy, labels.own, specs[:_CONTEXTS]),
        doors=tuple(Door(one.address, one.peer_types) for one in site.settings.listeners if one.peer_types),
        warmth=_warmth(site),
        kernel=read_kernel_facts(),
    )
    return tuple(fault for fault in examine_cheaply(scene) if not labels.note or fault.check not in _ASKED_FOR)


def _warmth(site: Site) -> Warmth:
    """A rule with warm= needs its zygote, or a fresh program instead; --warm may match no script of a domain."""
    settings = site.settings.warm
    asked = frozenset(spec.domain for spec, _ in site.table.warmed())
    by_glob = (spec.domain for spec, _ in islice(site.table.templates(), _CONTEXTS)) if settings.scripts else ()
    perhaps = frozenset(by_glob) | (asked if settings.fallback else frozenset())
    return Warmth(frozenset() if settings.fallback else asked, perhaps)


def _pipe_label(labels: Labels) -> str:
    """Of a pipe as scripts get it."""
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        return labels.file_label(ends[0])
    finally:
        for end in ends:
            os.close(end)


class Preflight:
    """Of one supervisor. Remembers which policy it has asked."""

    def __init__(self, labels: Labels, refuses: bool) -> None:
        self._policy = labels.policy
        self._refuses = refuses and not labels.note
        self._serial = self._loaded()
        if not refuses:
            LOG.warning("started with --no-preflight: what the policy forbids is met by requests")

    @property
    def pause(self) -> float:
        """How long the supervisor may wait until renewed() is called again, in seconds."""
        return PAUSE if self._policy is not None else 3600.0

    def passed(self, site: Site) -> Site:
        """`site`, when it can work. Logs every fault; PreflightFailed for the first that is fatal. Closes it then."""
        self._serial = self._loaded()
        try:
            fatal = _log(look(site))
            if fatal and self._refuses:
                more = f", and {len(fatal) - 1} more" if fatal[1:] else ""
                reason = f"preflight: {fatal[0].what}{more} ({', '.join(fatal[0].where[:3]) or 'in any case'})"
                raise PreflightFailed(reason, f"{fatal[0].fix}; selcgi doctor says more, --no-preflight goes on")
        except SelcgiError:
            site.close()
            raise
        return site

    def renewed(self, site: Site) -> None:
        """Ask again when a policy was loaded since; what it forbids now is in the log."""
        serial = self._loaded()
        if serial == self._serial:
            return
        self._serial = serial
        try:
            fatal = _log(look(site))
        except SelcgiError as error:
            LOG.error("a policy was loaded, and cannot be asked: %s", error)
            return
        LOG.log(
            logging.ERROR if fatal else logging.INFO,
            "a policy was loaded (number %d): %s",
            serial,
            f"{len(fatal)} faults, requests that meet them will fail" if fatal else "the mapping works with it",
        )

    def _loaded(self) -> int:
        return self._policy.serial() if self._policy is not None else 0


def _log(faults: tuple[Fault, ...]) -> list[Fault]:
    """Each as a line; those that are fatal."""
    for fault in faults:
        if fault.severity != "note":
            LOG.log(logging.ERROR if fault.severity == "fatal" else logging.WARNING, "preflight: %s", fault)
    return [fault for fault in faults if fault.severity == "fatal"]
