"""What the script wrote, on its way to the web server: the head in one piece, then no more than it promised.

Decides what may be sent. Nothing leaves before the head is complete and `released`; a body longer than its
Content-Length is cut, a shorter one makes the response broken (RFC 3875 section 6.3, RFC 9112 section 6.3). So does
the death of its script when no length says that all of it is there. Must not read or write anything. Used by
serve/relay.py.
"""

import sys
from signal import Signals, strsignal

from selcgi.errors import BadResponse
from selcgi.serve.accesslog import Entry
from selcgi.wire.response import HeadReader, ResponseHead

_BODILESS = (204, 304)  # statuses that have no body, whatever the script writes (RFC 9110 section 6.4.1)
_FIX: dict[int, str] = {
    Signals.SIGKILL: "see the kernel's log for the oom killer",
    Signals.SIGXCPU: "raise cpu= in the rule, if the script may compute that long",
    Signals.SIGXFSZ: "raise file-size= in the rule, if the script may write that much",
}


class Answer:
    """Bytes of the script in by feed(), bytes for the web server out by take()."""

    def __init__(
        self, head_limit: int, keep_sendfile: bool, bodiless: bool = False, keep_redirect: bool = False
    ) -> None:
        """`bodiless`: the answer to HEAD, whose Content-Length is of a body that does not come. `keep_redirect`: a
        local redirect is not for the web server."""
        self._reader = HeadReader(head_limit)
        self._keep_sendfile = keep_sendfile
        self._bodiless = bodiless
        self._keep_redirect = keep_redirect
        self._held: list[bytes] = []
        self.held_bytes = 0
        self.head: ResponseHead | None = None
        self.sent = False  # the head was taken: the status can't be changed any more
        self.body_bytes = 0
        self.surplus = 0  # bytes beyond Content-Length, cut off

    def feed(self, data: bytes) -> None:
        """More from the script's stdout. BadResponse when it is no head."""
        if self.head is not None:
            self._hold_body(data)
            return
        head = self._reader.feed(data)
        if head is not None:
            self._start(head)

    @property
    def passable(self) -> int:
        """How many bytes of the body may go out without being fed: none before the head, or past its promise."""
        if self.head is None or not self.sent or self._held:
            return 0
        promised = self._promised(self.head)
        return sys.maxsize if promised is None else promised - self.body_bytes

    @property
    def complete(self) -> bool:
        """All that the web server waits for was taken: only the end of the script is missing."""
        return self.sent and not self._held and self.passable == 0

    def passed(self, size: int) -> None:
        """So many of them went out."""
        self.body_bytes += size

    def finish(self, signum: int | None = None) -> None:
        """The script's stdout has ended. BadResponse when the head never did, or the body is too short, or may be since
        signal `signum` has ended the script."""
        promised = None if self.head is None else self._promised(self.head)
        if signum is not None and (promised is None or self.body_bytes < promised):
            raise _died(signum)
        if self.head is None:
            self._reader.finish()
        if promised is not None and self.body_bytes < promised:
            raise BadResponse(
                f"the script promised Content-Length {promised} and wrote {self.body_bytes} bytes",
                "correct the script's Content-Length, or see why it ended early",
            )

    def note(self, entry: Entry) -> None:
        """The status that went out, and what of the answer did not."""
        if self.head is None or not self.sent:
            return
        entry.status = self.head.status
        if self.head.removed and not self._keep_sendfile:
            reason = f"removed from the answer: {', '.join(self.head.removed)}"
            fix = "sendfile=yes in the rule lets this script have the web server read files for it"
            entry.blame(BadResponse(reason, fix))
        elif self.surplus and not self._bodiless:
            none = self.head.status in _BODILESS
            bound = f"what a {self.head.status} may have" if none else "the script's own Content-Length"
            entry.blame(BadResponse(f"{self.surplus} bytes beyond {bound} were cut off"))

    @property
    def redirect(self) -> bytes | None:
        """The target of the local redirect that this is, as long as no body has come."""
        bare = self._keep_redirect and not self.body_bytes and not self.surplus
        return self.head.local if self.head is not None and bare else None

    def take(self) -> bytes:
        """All that may be sent now."""
        if self._keep_redirect and self.redirect is not None:
            return b""
        data = b"".join(self._held)
        self._held.clear()
        self.held_bytes = 0
        self.sent = self.sent or bool(data)
        return data

    def _start(self, head: ResponseHead) -> None:
        self.head = head
        self._hold(head.encode(self._keep_sendfile))
        self._hold_body(self._reader.rest)

    def _hold_body(self, data: bytes) -> None:
        assert self.head is not None
        promised = self._promised(self.head)
        if promised is not None and self.body_bytes + len(data) > promised:
            kept = promised - self.body_bytes
            self.surplus += len(data) - kept
            data = data[:kept]
        self.body_bytes += len(data)
        self._hold(data)

    def _promised(self, head: ResponseHead) -> int | None:
        return 0 if self._bodiless or head.status in _BODILESS else head.content_length

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self.held_bytes += len(data)


def _died(signum: int) -> BadResponse:
    name = Signals(signum).name if signum in set(Signals) else f"signal {signum}"
    reason = f"the script was ended by {name} ({strsignal(signum)}) before its answer was complete"
    return BadResponse(reason, _FIX.get(signum, "see its stderr; memory= or files= in its rule may be too little"))
