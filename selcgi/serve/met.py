"""Which limit of its rule a script has met, in a sentence with what to do: for the line in the log.

Decides by what the kernel counted for its cgroup, and by how the script itself ended. A limit that a process learns of
only as a failed call (memory without a cgroup, processes without one, files) is not seen here. Called by relay.py.
"""

from signal import SIGKILL, SIGXCPU, SIGXFSZ

from selcgi.errors import LimitMet
from selcgi.plan import Exit, Limits

_REASONS = {
    "memory": "the script and all that it started needed more than memory={} and were ended by the kernel",
    "processes": "a process was refused to the script: there were processes={} of the request",
    "cpu": "the script used more than cpu={} seconds of processor time and was ended by the kernel",
    "file-size": "the script wrote a file longer than file-size={} and was ended by the kernel",
}


def limit_met(how: Exit | None, counted: str, limits: Limits, rule: str) -> LimitMet | None:
    """`counted`: what Running.met says. None when no limit is known to have been met."""
    name = counted or (_by_signal(how, limits) if how is not None and how.signal is not None else "")
    if not name:
        return None
    values = {
        "memory": limits.memory_bytes,
        "processes": limits.processes,
        "cpu": limits.cpu_seconds,
        "file-size": limits.file_bytes,
    }
    return LimitMet(name, _REASONS[name].format(values[name]), f"raise {name}= in {rule}, or see why it needs that")


def _by_signal(how: Exit, limits: Limits) -> str:
    """SELinux resets soft limits at a change of domain (rlimitinh): then SIGKILL, of the hard one, comes first."""
    burnt = limits.cpu_seconds is not None and how.cpu_seconds >= limits.cpu_seconds
    if limits.cpu_seconds is not None and (how.signal == SIGXCPU or (how.signal == SIGKILL and burnt)):
        return "cpu"
    return "file-size" if limits.file_bytes is not None and how.signal == SIGXFSZ else ""
