"""posix_spawn(3) with two things that Python's leaves out: the directory to start in, and the cgroup to be born in.

A process that is born in its cgroup (clone3(2), CLONE_INTO_CGROUP) need not be moved there: a move waits until every
processor has passed a quiet state (cgroup_threadgroup_rwsem, kernel/cgroup/cgroup.c), ten milliseconds for a lone
request. glibc can do it from 2.39 on, where no seccomp filter is against it. What is not born so is started by
Python's own function, called from that directory: it costs a quarter less. Must not decide what is started. Used by
launch/spawn.py and system/leaves.py, on the main thread alone: attributes and current directory are shared.
"""

import ctypes
import errno
import os
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from selcgi.system.processes import RESETTABLE

_LIBC = ctypes.CDLL(None)
_HAS_CGROUP = hasattr(_LIBC, "posix_spawnattr_setcgroup_np")
_SETSIGDEF, _SETSIGMASK, _SETSID, _SETCGROUP = 0x04, 0x08, 0x80, 0x100  # spawn.h of glibc
_Opaque = ctypes.c_long * 128  # more than posix_spawnattr_t, posix_spawn_file_actions_t or sigset_t take (x86_64: 336)


class Image(NamedTuple):
    """What execve(2) takes, and where it begins: `streams` become 0 to 2, -1 for stdin is /dev/null. Descriptors are
    above 2 and close-on-exec."""

    path: bytes
    argv: tuple[bytes, ...]
    environ: Mapping[bytes, bytes]
    streams: tuple[int, int, int]
    directory: int


def spawn_process(image: Image, cgroup: int = -1) -> int:
    """Pid of a child that leads a session of its own, with no signal blocked or ignored, and has executed `image`.

    `cgroup` is a directory of cgroup2, open by O_PATH, for which takes_newborn() is true. OSError, mostly of the
    exec; ValueError for a NUL.
    """
    return _spawn_from(image.directory, image) if cgroup < 0 else _spawn_inside(cgroup, image)


def _spawn_inside(cgroup: int, image: Image) -> int:
    attributes = _with_cgroup(cgroup)
    pid = ctypes.c_int()
    actions = _file_actions(image.streams, image.directory)
    try:
        words = _strings(list(image.argv))
        variables = _strings([name + b"=" + value for name, value in image.environ.items()])
        _check(_LIBC.posix_spawn(ctypes.byref(pid), image.path, actions, attributes, words, variables))
    finally:
        _LIBC.posix_spawn_file_actions_destroy(actions)
    return pid.value


def _spawn_from(directory: int, image: Image) -> int:
    """The child begins where its parent is, which goes there meanwhile and has one thread."""
    here = own_directory()
    stdin, stdout, stderr = image.streams
    try:
        os.fchdir(directory)
        return os.posix_spawn(
            image.path,
            image.argv,
            image.environ,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, stdin, 0) if stdin >= 0 else (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=RESETTABLE,
        )
    finally:
        _return_to(here)


@cache
def own_directory() -> int:
    """O_PATH of where this process is when it first asks, for as long as it lives; of "/" when it may not be there, as
    after a change of its user."""
    try:
        return os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


os.register_at_fork(after_in_child=own_directory.cache_clear)


def _return_to(directory: int) -> None:
    """Never raises: the child that has been started must not be lost."""
    try:
        os.fchdir(directory)
    except OSError:
        os.chdir(b"/")


def takes_newborn(cgroup: int) -> bool:
    """True when a process can be born in the directory `cgroup` of cgroup2: tried with a path that no program has."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        spawn_process(Image(b"", (), {}, (null, null, null), cgroup), cgroup)
    except OSError as error:
        return error.errno == errno.ENOENT
    finally:
        os.close(null)
    return False


def _check(number: int) -> None:
    """These functions return the error, and leave errno alone."""
    if number:
        raise OSError(number, os.strerror(number))


def _strings(values: list[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    if b"\0" in b"".join(values):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(values) + 1))(*values)


def _file_actions(streams: tuple[int, int, int], directory: int) -> "ctypes.Array[ctypes.c_long]":
    actions = _Opaque()
    _check(_LIBC.posix_spawn_file_actions_init(actions))
    for target, source in enumerate(streams):
        if source < 0:
            null = os.fsencode(os.devnull)
            _check(_LIBC.posix_spawn_file_actions_addopen(actions, target, null, os.O_RDONLY, 0))
        else:
            _check(_LIBC.posix_spawn_file_actions_adddup2(actions, source, target))
    _check(_LIBC.posix_spawn_file_actions_addfchdir_np(actions, directory))
    return actions


def _attributes(flags: int) -> "ctypes.Array[ctypes.c_long]":
    """Python ignores SIGPIPE and SIGXFSZ, a caller may have ignored others (nohup): a script expects none of it."""
    attributes, default, mask = _Opaque(), _Opaque(), _Opaque()
    _LIBC.sigemptyset(mask)
    _LIBC.sigemptyset(default)
    for signum in RESETTABLE:
        _LIBC.sigaddset(default, int(signum))
    _check(_LIBC.posix_spawnattr_init(attributes))
    _check(_LIBC.posix_spawnattr_setsigdefault(attributes, default))
    _check(_LIBC.posix_spawnattr_setsigmask(attributes, mask))
    _check(_LIBC.posix_spawnattr_setflags(attributes, ctypes.c_short(flags)))
    return attributes


def _with_cgroup(cgroup: int) -> "ctypes.Array[ctypes.c_long]":
    if not _HAS_CGROUP:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    _check(_LIBC.posix_spawnattr_setcgroup_np(_INSIDE, cgroup))
    return _INSIDE


_INSIDE = _attributes(_SETSIGDEF | _SETSIGMASK | _SETSID | (_SETCGROUP if _HAS_CGROUP else 0))
