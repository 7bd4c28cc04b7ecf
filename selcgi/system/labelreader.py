"""A program of its own: says which label file contexts give to a path, by libselinux.

The distribution's Python runs it, as system/policyreader.py says. libselinux reads beside the file what it reads in
/etc/selinux, too: .homedirs, .local, .subs and .subs_dist. Must import nothing of selcgi, and touch no file that it is
asked about. Used by system/filecontexts.py alone.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from importlib import import_module
from typing import Any

_MEMORY = 1 << 30  # bytes of address space
_CPU_SECONDS = 300


def open_contexts(selinux: Any, path: str) -> Any:
    """A handle; without one libselinux has said why on stderr, and must not be asked."""
    option = selinux.selinux_opt()
    option.type, option.value = selinux.SELABEL_OPT_PATH, path
    handle = selinux.selabel_open(selinux.SELABEL_CTX_FILE, option, 1)
    if handle is None:
        raise OSError("libselinux can't read it")
    return handle


def label(selinux: Any, handle: Any, path: str, mode: int) -> str:
    """Empty where no file context says, which is also libselinux's answer for a damaged regular expression."""
    try:
        return str(selinux.selabel_lookup_raw(handle, path, mode)[1])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return ""


def main() -> None:
    """The first line says whether the file could be read, each after it answers ["label", [path, mode]]."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        selinux = import_module("selinux")
        handle = open_contexts(selinux, sys.argv[1])
    except (ImportError, OSError) as error:
        print(json.dumps({"missing" if isinstance(error, ImportError) else "unreadable": str(error)}), file=answers)
        return
    print(json.dumps({"hello": {}}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(label(selinux, handle, *json.loads(line)[1])), file=answers, flush=True)


if __name__ == "__main__":
    main()
