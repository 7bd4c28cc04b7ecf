"""The context of this process itself: how a warm interpreter's child moves into that of its request.

Decides that the move holds: what the kernel has afterwards is read from /proc, not remembered. Must not decide where
to. Used by zygote/birth.py, in a process with one thread: of several, each has a context of its own (setcon(3)).
"""

import os
from types import ModuleType

from selcgi.errors import ContextLost, LaunchFailed

_CURRENT = "/proc/thread-self/attr/current"


def enter_context(binding: ModuleType, context: str) -> None:
    """This process is in `context` from here on. LaunchFailed: it is where it was; ContextLost: it is elsewhere."""
    try:
        binding.setcon_raw(context)
    except OSError as error:
        reason = f"the warm interpreter, in {read_context()}, can't move itself into {context}: {error.strerror}"
        raise LaunchFailed("enter_context", reason, _FIX) from error
    seen = read_context()
    if seen != context:
        raise ContextLost("enter_context", f"the warm interpreter's child is in {seen}, not in {context}", _FIX)


def read_context() -> str:
    """What the kernel has. OSError."""
    descriptor = os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).rstrip(b"\0\n").decode()
    finally:
        os.close(descriptor)


_FIX = (
    "the zygote's domain needs process setcurrent on itself and dyntransition to the script's domain: "
    "setsebool -P selcgi_webapp_warm on, or (blockinherit selcgi_warm) in the application's module"
)
