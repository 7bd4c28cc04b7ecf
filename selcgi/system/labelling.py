"""Labels of files: those that they have, and those that the policy's file contexts give to their place.

Decides nothing. Asked by diagnose/ for the running system; where there is none, file contexts alone answer by the same
protocol. Must not change a label.
"""

import os
from types import ModuleType
from typing import Any, Protocol

from selcgi.system.binding import find_binding

_FILES = 0  # SELABEL_CTX_FILE (selinux/label.h)


class Labelling(Protocol):
    """Paths are absolute. A link is what it leads to."""

    def label(self, path: str) -> str:
        """The label that it has; empty when there is none, or it can't be read."""

    def expected(self, path: str, mode: int) -> str:
        """The label that a relabel would give it, `mode` as stat(2) has it; empty when no file context says."""


class KernelLabelling:
    """This system's files and file contexts, as they are when the first label is looked up."""

    def __init__(self, binding: ModuleType) -> None:
        self._se = binding
        self._handle: Any = None

    def label(self, path: str) -> str:
        try:
            return str(self._se.getfilecon_raw(path)[1])
        except OSError:
            return ""

    def expected(self, path: str, mode: int) -> str:
        if self._handle is None:
            self._handle = self._se.selabel_open(_FILES, None, 0)
        try:
            return str(self._se.selabel_lookup_raw(self._handle, os.path.realpath(path), mode)[1])
        except OSError:
            return ""


def open_labelling() -> KernelLabelling:
    """StartRefused without libselinux's binding."""
    return KernelLabelling(find_binding())
