"""Where bin/selcgi-zygote is, and that it may be executed: beside bin/selcgi, wherever that was installed.

Decides which file that is and takes none that somebody else could exchange. Must not execute it. Used by
launch/zygotes.py, and by what explains before a start.
"""

import os
import sys
import sysconfig
from pathlib import Path

import selcgi
from selcgi.errors import ZygoteFailed, launch_failed
from selcgi.plan import Script
from selcgi.system.selinux import Labels

NAME = "selcgi-zygote"
_TREE = Path(selcgi.__file__).resolve().parent.parent
PACKAGE = os.fsencode(_TREE)  # where the program finds its modules


def program_path() -> Path:
    """Absolute. ZygoteFailed when it is nowhere."""
    folders = (Path(sys.argv[0]).resolve().parent, _TREE / "bin", Path(sysconfig.get_path("scripts")))
    for folder in folders:
        if (folder / NAME).is_file():
            return folder / NAME
    places = ", ".join(map(str, dict.fromkeys(folders)))
    raise ZygoteFailed(f"the program {NAME} is in none of {places}", "install selcgi whole: README.md says how")


def open_program(labels: Labels) -> Script:
    """As a script that is to be executed by its path; the caller closes it. LaunchFailed."""
    path = os.fsencode(program_path())
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise launch_failed("zygote", f"cannot open {os.fsdecode(path)}", error) from error
    status = os.fstat(descriptor)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120 - bytes
    stamp = status.st_dev, status.st_ino, status.st_ctime_ns
    return Script(path, descriptor, directory, stamp, _interpreter(descriptor), labels.file_label(descriptor))


def _interpreter(descriptor: int) -> bytes:
    words = os.pread(descriptor, 256, 0).partition(b"\n")[0].removeprefix(b"#!").split()
    return words[0] if words else b""
