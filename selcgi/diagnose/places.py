"""Checks of files and of where they lie: their labels, their mounts, and whether selcgi may read what it believes.

Decides that a wrong label is named as such, with restorecon as the fix, since what follows from it would be granted to
the right one. Listed in diagnose/doctor.py.
"""

import shlex
from collections.abc import Iterator

from selcgi.diagnose.fault import Fault, check
from selcgi.diagnose.scene import File, Scene, Scripts
from selcgi.system.preflight import SCRIPT_TYPE, type_and_range, type_of

NO_LABEL = frozenset({"unlabeled_t", "file_t"})


@check("labels")
def labelled(scene: Scene) -> Iterator[Fault]:
    """A file system without labels gives all its files one, which is seldom a script's."""
    for one in scene.scripts:
        what = f"{type_of(one.label)} is the label of all files on {one.place.path}, which keeps none of its own"
        if not one.place.labels:
            if _runs_nowhere(scene, one):
                fix = f"mount it with context={scene.launcher.context.user}:object_r:{SCRIPT_TYPE}:s0"
                yield Fault("labels", "fatal", what, "these scripts get 500: no context may run them", fix, one.paths)
        elif not one.label or type_of(one.label) in NO_LABEL:
            what = f"the label is {type_of(one.label)}, which says nothing"
            fix = f"restorecon -F {_first(one.paths)}"
            yield Fault("labels", "fatal", what, "these scripts get 500: no context may run them", fix, one.paths)
    own = str(scene.launcher.context)
    lost = [one.path for one in scene.unseen if scene.allows(own, one.expected, "file", "getattr")]
    if lost:  # others are not meant for selcgi
        what = "selcgi may not look at it, and could if it had the label of its place"
        yield Fault(
            "labels", "fatal", what, "these scripts get 403", f"restorecon -F {_first(tuple(lost))}", tuple(lost)
        )


def _runs_nowhere(scene: Scene, one: Scripts) -> bool:
    return not any(scene.allows(str(context), one.label, "file", "entrypoint") for context, _ in scene.usable)


@check("folders")
def listed(scene: Scene) -> Iterator[Fault]:
    """A mistyped root has no faults in it, and should not pass for health."""
    for path, why in scene.shut:
        fix = f"correct --root, or see who may list it: ls -ldZ {_first((path,))}"
        what = f"a folder of scripts cannot be listed: {why}"
        yield Fault("folders", "fatal", what, "404, or scripts that were not looked at", fix, (path,))


@check("drift")
def drifted(scene: Scene) -> Iterator[Fault]:
    """Of type and range: the next relabel would change them, or a copy has lost them."""
    for one in scene.scripts:
        if one.place.labels and type_of(one.label) not in NO_LABEL and one.label:
            yield from _drift(File(one.paths[0], one.label, one.expected), one.paths)
    around = {file.path: file for one in scene.scripts for file in (one.interpreter, one.program, *one.folders) if file}
    zygote = scene.warmth.program
    if zygote is not None:
        yield from _drift(File(zygote.paths[0], zygote.label, zygote.expected), zygote.paths)
    others = (*scene.trusted, *scene.roots, *filter(None, (scene.program, scene.listener)))
    for file in {**around, **{file.path: file for file in others}}.values():
        yield from _drift(file, (file.path,))


def _drift(file: File, paths: tuple[str, ...]) -> Iterator[Fault]:
    have, should = type_and_range(file.label), type_and_range(file.expected)
    if not file.label or not file.expected or have == should:
        return
    symptom = "the policy's rules for this place do not apply to it"
    if have.partition(":")[0] == should.partition(":")[0]:
        symptom = "the level is not that of its place: who may read it is not who should"
    fix = f"restorecon -F {_first(paths)}, or, if it is meant so: semanage fcontext -a -t {type_of(file.label)} .."
    yield Fault("drift", "fatal", f"the label is {have}, its place should have {should}", symptom, fix, paths)


@check("noexec")
def executable(scene: Scene) -> Iterator[Fault]:
    for one in scene.scripts:
        if one.place.noexec:
            what = f"{one.place.path} is mounted noexec"
            fix = f"mount -o remount,exec {shlex.quote(one.place.path)}, in /etc/fstab too"
            yield Fault("noexec", "fatal", what, "these scripts get 403", fix, one.paths)


@check("configuration")
def readable(scene: Scene) -> Iterator[Fault]:
    own = str(scene.launcher.context)
    for one in scene.trusted:
        right = one.expected and type_of(one.expected) != type_of(one.label)
        if one.label and not right and not scene.allows(own, one.label, "file", "read open getattr"):
            what = f"{type_of(own)} -> {type_of(one.label)} : file {{ read open getattr }} is denied"
            fix = f"put it into /etc/selcgi, and restorecon -F {_first((one.path,))}"
            yield Fault("configuration", "fatal", what, "selcgi does not start: it cannot read it", fix, (one.path,))


def _first(paths: tuple[str, ...]) -> str:
    return shlex.quote(paths[0]) if paths else "FILE"
