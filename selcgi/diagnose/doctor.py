"""All checks of `selcgi doctor`, in the order in which their faults are shown.

Decides the list and nothing else. Those that are cheap are asked by serve/preflight.py, too.
Called by cli/doctor.py.
"""

from selcgi.diagnose import contexts, places, separation, surroundings, warmth
from selcgi.diagnose.fault import Check, Fault, run
from selcgi.diagnose.launching import CONTEXT_CHECKS, SCRIPT_CHECKS
from selcgi.diagnose.scene import Scene

CHECKS: tuple[Check, ...] = (
    surroundings.launcher,
    surroundings.program,
    surroundings.narrow,
    surroundings.capability,
    surroundings.unknown,
    contexts.somebody,
    contexts.valid,
    contexts.not_own,
    contexts.of_scripts,
    contexts.enforced,
    contexts.reached,
    contexts.disjoint,
    contexts.runs_as,
    *CONTEXT_CHECKS,
    warmth.there,
    warmth.started,
    warmth.moved,
    warmth.executed,
    warmth.read,
    *SCRIPT_CHECKS,
    places.listed,
    places.labelled,
    places.drifted,
    places.executable,
    places.readable,
    contexts.secure_mode,
    contexts.lost_context,
    separation.categories_count,
    separation.new_files,
    separation.not_selcgi,
    separation.not_policy,
    separation.not_rewritten,
    separation.not_others,
    surroundings.tcp_listener,
    surroundings.web_server,
    surroundings.denial_listener,
    contexts.complete,
)


def examine(scene: Scene) -> tuple[Fault, ...]:
    """Every fault, those that cannot work first."""
    if scene.policy.canonical(str(scene.launcher.context)) is None:  # then nothing else can be asked
        return run((surroundings.launcher, contexts.complete), scene)
    return run(CHECKS, scene)


def examine_cheaply(scene: Scene) -> tuple[Fault, ...]:
    """Those about contexts alone."""
    return run((each for each in CHECKS if each.cheap), scene)
