"""A zygote, bin/selcgi-zygote: a Python interpreter that is warm for one application, and lends itself out by fork.

Decides when it is to be replaced: when a file that it has loaded is another by now, or when it has grown. It serves one
worker, whose end is its own, and never runs a line of a request: main() goes on as the script in a child alone. It
opens no socket: 0 is its worker's, 1 and 2 are the worker's log. Started by launch/zygotes.py.
"""

import array
import os
import socket
import sys
import time
from contextlib import suppress
from types import CodeType, ModuleType
from typing import NoReturn

from selcgi.errors import LaunchStarved, SelcgiError, StartRefused, launch_failed
from selcgi.system.binding import find_binding
from selcgi.zygote import application, interpreter, preload, script, trampolines
from selcgi.zygote.birth import Belongings, become, clone_for
from selcgi.zygote.ending import end
from selcgi.zygote.frames import (
    FAILED,
    MESSAGE_BYTES,
    READY,
    RETIRING,
    STARVED,
    STUCK,
    Job,
    Setup,
    decode_setup,
    encode_report,
)
from selcgi.zygote.fresh import Fresh
from selcgi.zygote.stamps import Stamps, process_start

_FORK_FIX = "where the policy refuses it (EACCES), load contrib/selinux/selcgi.cil"
_LOST, _LOST_FIX = "the limit of open files, or the policy", "see LimitNOFILE=, and the kernel's denials of fd use"
_LOOK_SECONDS = 1.0  # between two looks at the files that were loaded
_PAGE = os.sysconf("SC_PAGE_SIZE")


class World:
    """What a child is forked with: everything loaded, nothing of a request."""

    def __init__(self, setup: Setup, descriptor: int) -> None:
        """SelcgiError says which module or file can't be loaded."""
        self.setup = setup
        self.binding: ModuleType | None = find_binding() if setup.confined else None
        before = preload.state()
        found = interpreter.become(setup.interpreter, setup.flags, package=sys.argv[1])
        preload.check("what Python itself loads (sitecustomize, a .pth file)", before)
        self._folder_first = "safe_path" not in found.flags
        self._fresh = Fresh(found)
        preload.load(setup.preloads, before)
        self.code: CodeType | None = None
        self.served: application.Application | None = None
        if setup.application:
            self.served = application.load(setup.application, setup.script, descriptor)
            preload.check(f"the WSGI application of {setup.script}", before)
        else:
            self.code = script.precompile(setup.script, descriptor)
        self.stamps = Stamps(process_start(), (os.path.join(sys.prefix, "pyvenv.cfg"),))  # noqa: PTH118
        self.kept = trampolines.find()
        self.last = self._fresh.settle("" if self.served else os.path.dirname(setup.script))  # noqa: PTH120

    def run(self, job: Job, descriptor: int) -> int:
        """In the child, in its context. The exit status."""
        self._fresh.begin(job.argv, job.environ)
        if self.served is not None:
            os.close(descriptor)
            return application.run(self.served, os.environ)
        return script.run(self.code, self.setup.script, descriptor, folder_first=self._folder_first)


class Zygote:
    """The loop. `control` is of type SOCK_SEQPACKET: a message is a request, with its descriptors."""

    def __init__(self, control: socket.socket, world: World) -> None:
        self._control = control
        self._world = world
        self._looked = time.monotonic()
        self._most_bytes = _resident() + world.setup.growth_bytes

    def serve(self) -> tuple[Job, int] | None:
        """None when the worker wants no more, or this process is stale: what it was lent then comes to another. In a
        child, its job and the script's descriptor."""
        while True:
            belongings = self._receive()
            if belongings is None:
                return None
            if why := self._stale():
                self._control.send(encode_report(RETIRING, why))
                _close(belongings)
                return None
            if self._clone(belongings):
                return self._begin(belongings), belongings.script

    def _begin(self, belongings: Belongings) -> Job:
        """In the child, which goes on from here, or ends: never back into the loop."""
        job = None
        try:
            job = become(belongings, self._world.binding, self._world.kept)
        finally:
            if job is None:
                os._exit(127)
        return job

    def _stale(self) -> str:
        """Why this process is not what a fresh start would make; looked at once a second, at a request."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return ""
        self._looked = now
        if changed := self._world.stamps.changed():
            return f"{changed} has changed"
        most = self._world.setup.growth_bytes
        return f"it has grown by more than {most} bytes" if _resident() > self._most_bytes else ""

    def _receive(self) -> Belongings | None:
        descriptors = receive_descriptors(self._control)
        return Belongings(*descriptors) if descriptors else None

    def _clone(self, belongings: Belongings) -> bool:
        """True in the child. The parent keeps nothing of the request."""
        try:
            if clone_for(belongings.cgroup) == 0:
                return True
        except OSError as error:
            failure = launch_failed("zygote", "the warm interpreter can't fork", error, _FORK_FIX)
            name = STARVED if isinstance(failure, LaunchStarved) else STUCK
            with suppress(OSError):
                os.write(belongings.channel, encode_report(name, failure.step, failure.reason, failure.fix))
        _close(belongings)
        return False


def _close(belongings: Belongings) -> None:
    for descriptor in filter(lambda each: each >= 0, belongings):
        os.close(descriptor)


def receive_descriptors(control: socket.socket) -> list[int]:
    """Those that the next message brings; none at the end of the file. What a message can't bring whole is refused."""
    room = socket.CMSG_SPACE(len(Belongings._fields) * array.array("i").itemsize)
    _, parts, flags, _ = control.recvmsg(MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, data in parts:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    if flags & socket.MSG_CTRUNC:
        for descriptor in found:
            os.close(descriptor)
        raise StartRefused(f"a descriptor did not arrive: {_LOST}", _LOST_FIX)
    return found.tolist()


def _resident() -> int:
    """Bytes of this process that are nobody else's: resident less shared (proc_pid_statm(5))."""
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared, *_ = file.read().split()
    return (int(resident) - int(shared)) * _PAGE


def _set_up(control: socket.socket) -> World:
    """The first message: the setup, and the script, open."""
    data, parts, _, _ = control.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    if not data:
        sys.exit(0)
    if not parts:
        raise StartRefused(f"the script did not arrive: {_LOST}", _LOST_FIX)
    descriptor = int.from_bytes(parts[0][2][:4], sys.byteorder)
    try:
        return World(decode_setup(data), descriptor)
    finally:
        os.close(descriptor)


def main() -> NoReturn:
    control = _take_control()
    try:
        found = _serve(control)
    except SelcgiError as error:
        _fail(control, error.reason, error.fix)
    except Exception as error:  # whatever a module does at its import
        _fail(control, f"the warm interpreter failed: {error!r}", "see its lines in the log")
    if found is None:
        control.close()  # what waits there comes to another now, whatever modules do at the exit
        sys.exit(0)
    world, job, descriptor = found
    end(world.run(job, descriptor), world.last)


def _fail(control: socket.socket, reason: str, fix: str) -> NoReturn:
    with control, suppress(OSError):  # a worker that is gone
        control.send(encode_report(FAILED, reason, fix))
    sys.exit(1)


def _take_control() -> socket.socket:
    """Away from where a module that is loaded would look for its input."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    return control


def _serve(control: socket.socket) -> tuple[World, Job, int] | None:
    """Returns in a child, or when it is over."""
    world = _set_up(control)
    control.send(encode_report(READY))
    found = Zygote(control, world).serve()
    if found is None:
        return None
    control.detach()
    return world, *found
