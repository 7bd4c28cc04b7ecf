"""What tells a relay that something became of its processes: the `wake` of a Running, in the worker's poller.

Decides which descriptor is watched, for a poll() may put another in its place, and that none is as long as the end of
stdout will do. Must not poll the Running. One for each request; used by serve/relay.py.
"""

from selcgi.launch.running import Running
from selcgi.serve.poller import Call, Failed, Poller


class Wake:
    """Watched from watch() to unwatch()."""

    def __init__(self, poller: Poller, running: Running) -> None:
        self._poller, self._running = poller, running
        self._descriptor = -1

    def watch(self, call: Call, failed: Failed) -> None:
        """Also after each poll(), for that may have changed what wakes."""
        if self._descriptor != self._running.wake:
            self.unwatch()
            self._poller.add_end(self._running.wake, call, failed)
            self._descriptor = self._running.wake

    def unwatch(self) -> None:
        """Also when it is not watched."""
        if self._descriptor >= 0:
            self._poller.remove_end(self._descriptor)
            self._descriptor = -1
