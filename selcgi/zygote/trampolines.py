"""Descriptors that a library keeps of its own code, and must find at their numbers: libffi 3.5, for ctypes.

Decides which they are: those of a file that this process executes code from. libffi maps the file again for each
hundred callbacks (src/tramp.c), by a number that it remembers: were it closed, what a script opens would get that
number, and be executed. A child has the same file there, opened by itself: with the zygote's own, two requests would
share a position, and in its context it may not use it. Used by zygote/main.py, birth.py and preload.py.
"""

import os
from collections.abc import Iterator

_EXECUTABLE = 2  # where "x" is in the permissions of proc_pid_maps(5)


def find() -> tuple[int, ...]:
    """None where libffi has no such thing, as up to 3.4: what that has in its place, where there is SELinux, is memory
    which requests would share, and for preload.py to refuse."""
    mapped = set(_mapped_code())
    return tuple(descriptor for descriptor, target in _open() if target in mapped)


def renew(descriptors: tuple[int, ...]) -> None:
    """In a child, in its context. OSError."""
    for descriptor in descriptors:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(own, descriptor, inheritable=False)
        os.close(own)


def _mapped_code() -> Iterator[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, permissions, *_, path = line.rstrip("\n").split(maxsplit=5)
            if permissions[_EXECUTABLE] == "x" and path.startswith("/") and not path.startswith("/memfd:"):
                yield path


def _open() -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - no object of it is needed
        except FileNotFoundError:  # the one that has listed them
            continue
        yield int(name), target
