"""What a worker has for its requests, made once after its fork. Holds nothing of a request.

Made by serve/supervisor.py and serve/once.py, used by serve/request.py and serve/worker.py.
"""

from dataclasses import dataclass

from selcgi.launch.cold import Launcher
from selcgi.serve.admission import Admission
from selcgi.serve.denials import Denials
from selcgi.serve.failures import Keeper
from selcgi.serve.lookups import Lookups
from selcgi.serve.probe import ProbePage
from selcgi.serve.share import Share
from selcgi.serve.tally import Tally
from selcgi.serve.zygotepage import ZygotePage
from selcgi.system.leases import Leases


@dataclass(frozen=True, slots=True)
class Means:
    """`keeper` is None when no failures are recorded."""

    launcher: Launcher
    admission: Admission
    tally: Tally
    probe: ProbePage
    lookups: Lookups
    denials: Denials
    zygotes: ZygotePage
    share: Share
    keeper: Keeper | None = None
    leases: Leases | None = None  # when a rule has c{request}
