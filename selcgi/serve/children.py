"""The processes of a supervisor: its workers, and those beside them.

Decides how one is named in the log, and that a forked process never returns into its supervisor's code. Used by
serve/supervisor.py.
"""

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from selcgi.errors import SelcgiError
from selcgi.system.leases import Leases

LOG = logging.getLogger("selcgi")
CONTROL, RECORDER, RESOLVER = -1, -2, -3  # numbers of the processes that are no workers
_NAMES = {CONTROL: "control process", RECORDER: "recorder", RESOLVER: "resolver"}


@dataclass(slots=True)
class Child:
    """`number` of a worker names its cgroup and its page; `generation` counts the reloads before it."""

    pid: int
    number: int
    generation: int
    started: float
    leases: Leases | None = None  # of a worker, opened before it was forked
    retires: bool = False  # a worker that takes no more requests, and is replaced already

    @property
    def name(self) -> str:
        return _NAMES.get(self.number, f"worker {self.number}")


def become(name: str, work: Callable[[], None]) -> NoReturn:
    """A forked process's whole life."""
    code = 1
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's; a closed terminal sends it to all
    try:
        work()
        code = 0
    except SelcgiError as error:
        LOG.error("%s cannot go on: %s", name, error)
    except Exception:
        LOG.exception("%s failed", name)
    finally:
        logging.shutdown()
        os._exit(code)
