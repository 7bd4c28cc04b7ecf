"""What becomes of a worker's zygotes, in the log: when one is ready, why one ends, what one has written.

Decides the words alone. Must not end or start one. Made by serve/worker.py, told by launch/zygotes.py.
"""

import logging

from selcgi.launch.zygote import Zygote

LOG = logging.getLogger("selcgi")


class ZygoteLog:
    """See launch/zygotes.py, Observer."""

    def changed(self, zygote: Zygote) -> None:
        if zygote.state == "ended" and zygote.failed:
            LOG.error("zygote script=%s pid=%d failed: %s; %s", zygote.application, zygote.pid, zygote.why, zygote.fix)
        elif zygote.state in ("retiring", "ended"):
            LOG.info("zygote script=%s pid=%d %s: %s", zygote.application, zygote.pid, zygote.state, zygote.why)

    def said(self, zygote: Zygote, line: str) -> None:
        LOG.info("zygote script=%s pid=%d %a", zygote.application, zygote.pid, line)
