"""Whom a refusal concerns: the process that starts scripts is told of itself and of what it may start, of nothing else.

Decides by the loaded policy alone, so that there is nothing to configure and no request of a peer to trust: a context
is a peer's when it is its own, or when it may enter it (process { transition }). Asks by selinuxfs itself, in the form
of security/selinux/selinuxfs.c (sel_write_access). Used by listener/main.py.
"""

import os
from pathlib import Path

_SELINUXFS = Path("/sys/fs/selinux")
_REMEMBERED = 4096  # contexts between two loads of a policy


class Concern:
    """Answers are remembered until forget()."""

    def __init__(self, selinuxfs: Path = _SELINUXFS) -> None:
        self._place = selinuxfs
        self._known: dict[tuple[str, str], bool] = {}

    def is_of(self, peer: str, *contexts: str) -> bool:
        """True when one of `contexts` is that of `peer` or of what it may start."""
        return any(self._one(peer, context) for context in contexts)

    def _one(self, peer: str, context: str) -> bool:
        if (peer, context) not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[peer, context] = context == peer or self._may_enter(peer, context)
        return self._known[peer, context]

    def _may_enter(self, peer: str, context: str) -> bool:
        """False also when there is no answer: of what is not certain nothing is told."""
        try:
            number = int((self._place / "class" / "process" / "index").read_text())
            bit = 1 << int((self._place / "class" / "process" / "perms" / "transition").read_text()) - 1
            allowed = int(self._ask(f"{peer} {context} {number}").split()[0], 16)
        except (OSError, ValueError, IndexError):
            return False
        return bool(allowed & bit)

    def _ask(self, question: str) -> str:
        descriptor = os.open(self._place / "access", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(descriptor, question.encode())
            return os.read(descriptor, 4096).decode("ascii")
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Another policy is loaded."""
        self._known.clear()
