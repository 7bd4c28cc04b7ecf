"""One request without a web server: the same worker, the same bytes on the wire, over a pair of sockets.

Decides nothing about the request, so that what it shows is what a web server's request would meet.
Called by cli/run.py and cli/failures.py.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import IO

from selcgi.errors import ProtocolError
from selcgi.launch.cold import open_launcher
from selcgi.serve.accesslog import Entry
from selcgi.serve.admission import Admission
from selcgi.serve.board import Board
from selcgi.serve.client import Pairs, read_pieces, request
from selcgi.serve.denials import Denials
from selcgi.serve.lookups import Lookups, from_here
from selcgi.serve.means import Means
from selcgi.serve.share import Share
from selcgi.serve.site import Site, open_site
from selcgi.serve.worker import Worker, run_loop
from selcgi.settings import UMASK, ListenerSettings, MapParam, Settings
from selcgi.system.runtree import open_run_tree
from selcgi.system.selinux import open_labels


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where the answer goes: what a web server would get, and what it would write to its error log."""

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]


def run_once(settings: Settings, pairs: Pairs, body: IO[bytes] | None, sinks: Sinks) -> tuple[list[Entry], bool]:
    """Serve one request: its records, and whether the answer was whole. StartRefused or MappingError as at a start."""
    os.umask(UMASK)
    entries: list[Entry] = []
    site = open_site(settings, open_labels(settings.selinux), entries.append)
    with closing(site), ExitStack() as held:
        tree = open_run_tree(settings.cgroup)
        if tree is not None:
            held.callback(tree.remove)
        leaves = tree.leaves(0) if tree is not None else None
        board = Board(1)
        admission = Admission(board, 0, settings)
        launcher, leases = open_launcher(settings, site.labels, leaves), site.categories.open_leases()
        page, lookups = board.pages[0], Lookups(from_here)
        denials = Denials(settings.denials, site.labels, page.denials)
        means = Means(
            launcher, admission, page.tally, board.probe, lookups, denials, page.zygotes, Share(board, 0), leases=leases
        )
        whole = run_loop(lambda: _serve(site, means, pairs, body, sinks))
    return entries, whole


async def _serve(site: Site, means: Means, pairs: Pairs, body: IO[bytes] | None, sinks: Sinks) -> bool:
    """True when the answer came to its end. An interrupt from the keyboard ends the request, and so the script."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    worker = Worker(site, (), means)
    sending = asyncio.ensure_future(request(ours, pairs, read_pieces(body), sinks.stdout, sinks.stderr))
    for signum in (signal.SIGINT, signal.SIGTERM):
        worker.loop.add_signal_handler(signum, sending.cancel)
    names = tuple(one.name for one in site.settings.maps if isinstance(one, MapParam))
    worker.adopt(theirs, ListenerSettings("run", identity="remote-user", map_params=names))
    try:
        await sending
    except (asyncio.CancelledError, ProtocolError):
        return False  # the entry says why
    else:
        return True
    finally:
        await worker.stop()
        await means.denials.settled()
        worker.close()
