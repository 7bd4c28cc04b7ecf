"""Checks of what is around the scripts: the program and its domain, the kernel, the web server, the denial listener.

Decides by what init would start, not by what runs now: the service may not run yet. Listed in diagnose/doctor.py.
"""

import shlex
from collections.abc import Iterator
from dataclasses import replace

from selcgi.diagnose.fault import Fault, check
from selcgi.diagnose.meant import WEB_SERVERS
from selcgi.diagnose.scene import Door, File, Scene, label_of_type
from selcgi.policy.ports import REQUESTS
from selcgi.system.preflight import range_of, type_of

_MODULE = "semodule -i contrib/selinux/selcgi.cil contrib/selinux/webapp.cil"
_LISTENER = "selcgi_avc_t"
_CANNOT = "the web server answers 502 or 503: it cannot connect to {}"


@check("launcher", cheap=True)
def launcher(scene: Scene) -> Iterator[Fault]:
    own = scene.launcher.context
    if scene.policy.canonical(str(own)) is None:
        what = f"the policy has no {own}"
        yield Fault("launcher", "fatal", what, "selcgi does not start: it has no domain of its own", _MODULE)
    elif scene.policy.vector(str(own), str(own), "process").permissive:
        fix = f"semanage permissive -d {own.domain}"
        symptom = "selcgi does not start: a script that lost its context would not be stopped"
        yield Fault("launcher", "fatal", f"selcgi's domain {own.domain} is permissive", symptom, fix)


@check("program")
def program(scene: Scene) -> Iterator[Fault]:
    own, file = scene.launcher.context, scene.program
    init = str(replace(own, domain="init_t"))
    if not scene.policy.canonical(init) or not scene.policy.canonical(str(own)):
        return
    for classname, words in (("process", "transition"), ("process2", "nnp_transition")):
        if not scene.allows(init, str(own), classname, words):
            what = f"init_t -> {own.domain} : {classname} {{ {words} }} is denied"
            symptom = "the service does not start: init may not start it in its domain (with NoNewPrivileges=)"
            yield Fault("program", "fatal", what, symptom, f"(allow init_t {own.domain} ({classname} ({words})))")
    if file is None:
        return
    become = _started(scene, file)
    if become and type_of(become) != own.domain and type_of(file.label) == type_of(file.expected or file.label):
        what = f"{file.path} ({type_of(file.label)}) is started by init in {type_of(become)}, not in {own.domain}"
        fix = f"semanage fcontext -a -t selcgi_exec_t {shlex.quote(file.path)}, then restorecon -F on it"
        yield Fault("program", "fatal", what, "the service does not start: it would not be confined", fix)


@check("launcher-range")
def narrow(scene: Scene) -> Iterator[Fault]:
    """A pipe has its maker's whole range as label, and a script at s0:c1 may not write one that reaches to c1023."""
    own, file = scene.launcher.context, scene.program
    if file is None or not own.range:
        return
    become = _started(scene, file)
    level = range_of(become)
    if type_of(become) == own.domain and level != own.range:
        what = f"init starts {file.path} at {level}, not at {own.range}"
        symptom = "the service does not start; scripts with categories would have empty answers"
        fix = f"take the rule away that widens it (seinfo has range_transition), or SELinuxContext={own} in the unit"
        yield Fault("launcher-range", "fatal", what, symptom, fix)


@check("policy-capability", cheap=True)
def capability(scene: Scene) -> Iterator[Fault]:
    kernel = scene.kernel
    if kernel is not None and not kernel.nnp_nosuid and scene.launcher.no_new_privileges:
        what = "the policy lacks the capability nnp_nosuid_transition"
        symptom = (
            "under NoNewPrivileges= the service does not start: it stays in init's domain, and refuses to run there"
        )
        yield Fault("policy-capability", "fatal", what, symptom, "NoNewPrivileges=no in the unit, or a newer policy")


@check("unknown-classes")
def unknown(scene: Scene) -> Iterator[Fault]:
    if scene.kernel is not None and not scene.kernel.deny_unknown:
        what = "the kernel grants what the policy does not know (deny_unknown is 0), as the distribution has it"
        fix = "handle-unknown=deny in /etc/selinux/semanage.conf, then semodule -B"
        yield Fault("unknown-classes", "note", what, "newer kernel classes confine nobody; selcgi denies them", fix)


@check("web-server", cheap=True)
def web_server(scene: Scene) -> Iterator[Fault]:
    for door in scene.doors:
        if door.hidden and door.socket:
            what = f"selcgi may not look at {door.socket.path}: it has not the label of a socket of selcgi's"
            yield Fault(
                "web-server", "fatal", what, _CANNOT.format(door.address), _move(door.socket.path), (door.address,)
            )
        names = [name for name in door.peer_types or WEB_SERVERS if _server(scene, name)]
        found = {name: list(_shut(scene, door, name)) for name in names}
        if door.peer_types:
            yield from (fault for several in found.values() for fault in several)
        elif found and all(found.values()):  # one that may connect will do
            yield from next(iter(found.values()))


def _server(scene: Scene, name: str) -> str:
    """Its context, empty when the policy has no such domain."""
    return scene.policy.canonical(str(replace(scene.launcher.context, domain=name))) or ""


def _shut(scene: Scene, door: Door, name: str) -> Iterator[Fault]:
    server, own = _server(scene, name), str(scene.launcher.context)
    asked = _by_tcp(scene) if _is_tcp(door) else [(own, "unix_stream_socket", "connectto", "")]
    asked += [(file.label, "dir", "search", file.path) for file in (door.folder,) if file and file.label]
    asked += [(file.label, "sock_file", "write", file.path) for file in (door.socket,) if file and file.label]
    for target, classname, permission, path in asked:
        if not scene.allows(server, target, classname, permission):
            what = f"{name} -> {type_of(target)} : {classname} {{ {permission} }} is denied"
            symptom = _CANNOT.format(door.address)
            fix = f"(call selcgi_web_server{'_by_tcp' if _is_tcp(door) else ''} ({name}))"
            if path and type_of(target) != "selcgi_runtime_t":
                fix = f"{_move(path)}: {path} is {type_of(target)}"
            yield Fault("web-server", "fatal", what, symptom, fix, (door.address,))


def _move(path: str) -> str:
    return "restorecon -RF /run/selcgi" if path.startswith("/run/selcgi/") else "listen beneath /run/selcgi"


def _is_tcp(door: Door) -> bool:
    return door.address.startswith("tcp:")


def _by_tcp(scene: Scene) -> list[tuple[str, str, str, str]]:
    """Nothing where selcgi itself may not listen: that is the fault then."""
    port = label_of_type(scene.launcher.context, REQUESTS.type)
    return [(port, "tcp_socket", "name_connect", "")] if not _cannot_bind(scene) else []


@check("tcp-listener")
def tcp_listener(scene: Scene) -> Iterator[Fault]:
    for door in filter(_is_tcp, scene.doors):
        if lacking := _cannot_bind(scene):
            what = f"{scene.launcher.context.domain} -> {lacking} is denied"
            symptom = f"selcgi does not start: it cannot listen on {door.address}"
            known = scene.policy.canonical(label_of_type(scene.launcher.context, REQUESTS.type))
            fix = REQUESTS.cure(REQUESTS.number) if known else _MODULE
            yield Fault("tcp-listener", "fatal", what, symptom, fix, (door.address,))
        elif (number := int(door.address.rpartition(":")[2])) != REQUESTS.number:
            what = f"the label of TCP port {number} can't be asked, and should be {REQUESTS.type}"
            fix = f"unless semanage port -l has it: semanage port -a -t {REQUESTS.type} -p tcp {number}"
            symptom = "with another label selcgi cannot listen there, or the web server not connect"
            yield Fault("tcp-listener", "note", what, symptom, fix, (door.address,))


def _cannot_bind(scene: Scene) -> str:
    """What selcgi lacks to listen on a port of its own; empty when nothing."""
    own = str(scene.launcher.context)
    for target, words in (
        (own, "create bind listen accept"),
        (label_of_type(scene.launcher.context, REQUESTS.type), "name_bind"),
    ):
        if not scene.allows(own, target, "tcp_socket", words):
            return f"{type_of(target)} : tcp_socket {{ {words} }}"
    return ""


@check("denial-listener")
def denial_listener(scene: Scene) -> Iterator[Fault]:
    listener = replace(scene.launcher.context, domain=_LISTENER)
    context = str(listener)
    if not scene.policy.canonical(str(scene.launcher.context)):
        return
    if not scene.policy.canonical(context):
        what, fix = f"the policy has no {_LISTENER}", "semodule -i contrib/selinux/avc.cil"
        yield Fault("denial-listener", "note", what, "refusals are not explained in the log", fix)
        return
    for classname, words in (("capability2", "audit_read"), ("netlink_audit_socket", "create bind read")):
        if not scene.allows(context, context, classname, words):
            what = f"{_LISTENER} -> {_LISTENER} : {classname} {{ {words} }} is denied"
            fix = f"(allow {_LISTENER} self ({classname} ({words})))"
            yield Fault("denial-listener", "warning", what, "refusals are not explained in the log", fix)
    file = scene.listener
    if file is not None and file.label and (domain := type_of(_started(scene, file))) != _LISTENER:
        what = f"{file.path} ({type_of(file.label)}) is started by init in {domain}"
        fix = f"restorecon -F {shlex.quote(file.path)}"
        yield Fault("denial-listener", "warning", what, "refusals are not explained in the log", fix)


def _started(scene: Scene, program: File) -> str:
    """The context in which init starts it."""
    init = replace(scene.launcher.context, domain="init_t")
    return scene.policy.created(str(init), program.label, "process")
