"""Where bin/selcgi-zygote is, and that it may be executed: beside bin/selcgi, wherever that was installed.

Decides which file that is, and refuses one that is too easily exchanged: the file and the folder it lies in must belong
to root, selcgi's own user or the owner of selcgi's modules, which a zygote executes too, and must not be writable for
everybody. A group may write there, as in a developer's tree; the folders above are as trusted as those of bin/selcgi.
Must not execute it. Used by launch/zygotes.py, and by what explains before a start.
"""

import os
import stat
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path

import selcgi
from selcgi.errors import ZygoteFailed, launch_failed
from selcgi.plan import Script
from selcgi.system.executable import HEAD_BYTES, read_first_line
from selcgi.system.mapfile import objection, own_owners
from selcgi.system.selinux import Labels

NAME = "selcgi-zygote"
_TREE = Path(selcgi.__file__).resolve().parent.parent
_BESIDE = Path(sys.argv[0]).resolve().parent  # now: a relative path means another file after a chdir(2)
PACKAGE = os.fsencode(_TREE)  # where the program finds its modules


def program_path() -> Path:
    """Absolute, no link. ZygoteFailed when it is nowhere."""
    folders = (_BESIDE, _TREE / "bin", Path(sysconfig.get_path("scripts")))
    for folder in folders:
        if (folder / NAME).is_file():
            return (folder / NAME).resolve()
    places = ", ".join(map(str, dict.fromkeys(folders)))
    raise ZygoteFailed(f"the program {NAME} is in none of {places}", "install selcgi whole: README.md says how")


def open_program(labels: Labels) -> Script:
    """As a script that is to be executed by its path; the caller closes it. LaunchFailed."""
    path = program_path()
    with ExitStack() as on_failure:
        directory = _open(path.parent, os.O_PATH | os.O_DIRECTORY, on_failure)
        descriptor = _open(path, os.O_RDONLY, on_failure)
        status = os.fstat(descriptor)
        stamp = status.st_dev, status.st_ino, status.st_ctime_ns
        first = read_first_line(os.pread(descriptor, HEAD_BYTES, 0))
        interpreter, label = first.interpreter if first else b"", labels.file_label(descriptor)
        on_failure.pop_all()
    return Script(bytes(path), descriptor, directory, stamp, interpreter, label)


def _open(path: Path, flags: int, on_failure: ExitStack) -> int:
    """One that is not too easily exchanged."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise launch_failed("zygote", f"cannot open {path}", error) from error
    on_failure.callback(os.close, descriptor)
    owners = own_owners() | {Path(selcgi.__file__).stat().st_uid}
    if found := objection(os.fstat(descriptor), bytes(path), owners, stat.S_IWOTH):
        raise ZygoteFailed(*found)
    return descriptor
