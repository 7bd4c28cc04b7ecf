"""How many files a worker may have open, and so how many requests it admits.

Decides that no request is admitted whose launch would fail for want of a descriptor. Called by serve/supervisor.py,
before anything is opened.
"""

import logging
import resource
from dataclasses import replace

from selcgi.errors import StartRefused
from selcgi.settings import Settings
from selcgi.system.familiar import MOST

LOG = logging.getLogger("selcgi")
# Of a request: socket, three streams, pidfd, script, folder, spool, the five of a cgroup leaf; and an idle connection.
_FILES_PER_REQUEST = 14
_FILES_PER_WAITING = 6  # its socket, script, folder and spool; and an idle connection
_FILES_PER_ZYGOTE = 8  # its socket, its log, those of its leaf; where files are few, requests go before zygotes
_OTHER_FILES = 64 + 2 * MOST  # of a worker: sockets, roots, scripts, event loop, modules, what a launch has open


def fit_files(settings: Settings) -> Settings:
    """As many open files as the admitted requests need, no more: old scripts close every descriptor up to the limit.
    Where the hard limit is lower, fewer are admitted: the others get 503, not a launch that fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most, queue = settings.worker_requests or settings.concurrent_requests, settings.queue_length
    wanted = most * _FILES_PER_REQUEST + queue * _FILES_PER_WAITING + settings.warm.zygotes * _FILES_PER_ZYGOTE
    files = max(soft, min(wanted + _OTHER_FILES, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    queue = min(queue, (files - _OTHER_FILES) // (4 * _FILES_PER_WAITING))
    fitting = (files - _OTHER_FILES - queue * _FILES_PER_WAITING) // _FILES_PER_REQUEST
    if fitting < 1:
        raise StartRefused(f"{files} open files do not suffice for one request", "raise LimitNOFILE= (ulimit -n)")
    if fitting < most:
        LOG.warning("at most %d requests at once in a worker, not %d: raise LimitNOFILE= for more", fitting, most)
    return replace(settings, worker_requests=min(fitting, most), queue_length=queue)
