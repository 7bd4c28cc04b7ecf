"""What the processes of one request may use together: limits that the kernel holds for their cgroup (cgroup v2).

Decides which limits of a rule a leaf can hold, and which of them was met. A controller is switched on when a rule first
asks for it, since it costs every process beneath. Must not launch. Used by leaves.py, and by launch/leafed.py (met).

memory: memory.max, no swap, and one that meets it takes all of the request along. processes: pids.max, threads too.
cpus: cpu.max, in a period of 0.1 s. See Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from selcgi.errors import LaunchFailed, launch_failed
from selcgi.plan import Limits

_PERIOD_US = 100_000
_LEFT_BYTES = 1 << 20  # of files and the like that an ended request may leave to the next one in its leaf
_CONTROLLERS = {"memory": "memory_bytes", "pids": "processes", "cpu": "cpus"}
_SWAPS = Path("/proc/swaps").exists()  # else there is no swap to be limited (CONFIG_SWAP)


class Ceilings:
    """Those of one worker: its leaves lie in `path`, which lies in selcgi's base."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._on: dict[str, bool] = {}  # controllers that have been asked for

    def can_hold(self, limits: Limits) -> bool:
        """Whether there is a controller for any of the limits."""
        asked = [name for name, field in _CONTROLLERS.items() if getattr(limits, field) is not None]
        return bool(list(filter(self._has, asked)))  # each of them is asked for

    def hold(self, leaf: Path, limits: Limits) -> Limits:
        """Set all that the leaf can hold, whatever it held before, but for processors: see slow(). The rest.

        LaunchFailed("set_ceilings").
        """
        held = [name for name, on in self._on.items() if on]
        try:
            for name in held:
                for file, value in _FILES[name](replace(limits, cpus=None)).items():
                    _write(leaf / file, value)
        except OSError as error:
            raise _failed(leaf, error) from error
        changes: dict[str, Any] = {_CONTROLLERS[name]: None for name in held}
        return replace(limits, **changes)

    def slow(self, leaf: Path, limits: Limits) -> None:
        """Processors are limited once the script runs: a worker waits for the exec, and would wait for the pauses of a
        child that has met the limit before it. LaunchFailed("set_ceilings")."""
        if limits.cpus is None or not self._on.get("cpu"):
            return
        try:
            for file, value in _cpu(limits).items():
                _write(leaf / file, value)
        except OSError as error:
            raise _failed(leaf, error) from error

    def _has(self, name: str) -> bool:
        """Whether leaves have the controller; switched on here and in the base, where it can be."""
        if name not in self._on:
            for above in (self._path.parent, self._path):
                with contextlib.suppress(OSError):
                    _write(above / "cgroup.subtree_control", f"+{name}")
            self._on[name] = name in (self._path / "cgroup.subtree_control").read_text().split()
        return self._on[name]


def _failed(leaf: Path, error: OSError) -> LaunchFailed:
    return launch_failed("set_ceilings", f"cannot limit {leaf}", error)


def met(leaf: Path) -> str:
    """The limit that processes of the leaf have met: "memory", "processes" or ""."""
    if _count(leaf / "memory.events", "oom_kill"):
        return "memory"
    return "processes" if _count(leaf / "pids.events", "max") else ""


def is_clean(leaf: Path) -> bool:
    """Whether the next request would start as in a new leaf: nothing was met, little is left in memory, and no process:
    a dead one counts until somebody reaps it, and a stranger among the worker's children waits for that."""
    left, processes = (_number(leaf / name) for name in ("memory.current", "pids.current"))
    return left <= _LEFT_BYTES and not processes and not met(leaf)


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except FileNotFoundError:  # a controller that is off
        return 0


def _count(events: Path, name: str) -> int:
    try:
        lines = dict(line.split() for line in events.read_text().splitlines())
    except FileNotFoundError:  # a controller that is off
        return 0
    return int(lines.get(name, 0))


def _write(file: Path, value: str) -> None:
    """OSError, with the file in its text."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, f"{file.name}: {error.strerror}") from error


def _text(value: int | None) -> str:
    return "max" if value is None else str(value)


def _memory(limits: Limits) -> dict[str, str]:
    limited = limits.memory_bytes is not None
    files = {"memory.max": _text(limits.memory_bytes), "memory.oom.group": str(int(limited))}
    return {**files, "memory.swap.max": "0" if limited else "max"} if _SWAPS else files


def _cpu(limits: Limits) -> dict[str, str]:
    quota = None if limits.cpus is None else max(1000, round(limits.cpus * _PERIOD_US))  # 1 ms is the least
    return {"cpu.max": f"{_text(quota)} {_PERIOD_US}"}


_FILES = {"memory": _memory, "pids": lambda limits: {"pids.max": _text(limits.processes)}, "cpu": _cpu}
