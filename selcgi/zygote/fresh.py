"""What a child must not have of its zygote, or of its siblings, and what it has instead.

Decides what is made anew, and does it before the fork where that will do: a child shall have little to do, and each
page that it writes to is copied. Much is done by others: Python's own hooks of a fork have seeded `random` and renewed
the locks of `logging` and `threading`; `secrets` asks the kernel, `ssl` notices that the pid is another. Must not undo
what a preload has set on purpose: it is as if the script had imported it first. Called by zygote/main.py.
"""

import gc
import os
import signal
import site
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from selcgi.zygote.interpreter import Interpreter
from selcgi.zygote.seeds import Seeds
from selcgi.zygote.streams import Streams

_VARIABLES: dict[bytes, bytes] = vars(os.environ)["_data"]  # os.environ itself takes ten times as long for each
_PRIVATE = ("selcgi", "selinux", "_selinux")
_OWN = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120


class Fresh:
    """`interpreter` is what this process stands for."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._streams = Streams(interpreter.unbuffered, interpreter.encoding)
        self._seeds = Seeds()
        self._added: dict[bytes, bytes] = {}  # to each child's environment
        self._zone = os.environb.get(b"TZ")
        self._hidden: list[ModuleType] = []  # still there: to take them down would cost each child

    def settle(self, folder: str) -> str:
        """In the zygote, once everything is loaded: the name of the last module that a child begins with.

        `folder` is that of a CGI script, and empty for an application.

        selcgi itself can't be seen from here on: a fresh program could not import it either.
        """
        self._streams.settle()
        self._seeds.settle()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _forget()
        self._added = _added()
        os.environ.clear()
        for name in (*_private(), *_shadowed(folder, self._interpreter.with_site)):
            self._hidden.append(sys.modules.pop(name))
        for place in [place for place in sys.path_importer_cache if place == sys.argv[0] or place.startswith(_OWN)]:
            del sys.path_importer_cache[place]
        gc.collect()
        gc.freeze()  # the collector of a child must not touch, and so copy, what it shares
        return next(reversed(sys.modules))

    def begin(self, argv: Sequence[bytes], environ: Mapping[bytes, bytes]) -> None:
        """In the child, over its descriptors."""
        sys.argv[:] = map(os.fsdecode, argv)
        sys.orig_argv[:] = [*self._interpreter.words, *sys.argv]
        for name, value in {**environ, **self._added}.items():
            _VARIABLES[name] = value
            os.putenv(name, value)
        if environ.get(b"TZ") != self._zone:
            time.tzset()
        _note()
        self._seeds.renew()
        if sys.version_info < (3, 13):  # its hook of a fork sets it by itself from there on
            threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        self._streams.take()
        folder = self._interpreter.user_site
        if folder and os.path.isdir(folder):  # noqa: PTH112 - no object of it is needed
            self._add(folder)

    def _add(self, folder: str) -> None:
        """The account's packages, as site does it: their .pth files find sys.path as it would be there."""
        after = self._interpreter.user_after
        place = sys.path.index(after) + 1 if after in sys.path else len(sys.path)
        system = sys.path[place:]
        del sys.path[place:]
        site.addsitedir(folder)
        sys.path += [one for one in system if one not in sys.path]


def _forget() -> None:
    """What modules that a preload has imported remember of one process."""
    if uuid := sys.modules.get("uuid"):
        _forget_clock(vars(uuid))
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile and tempfile.tempdir is not None and not _is_chosen(tempfile):
        tempfile.tempdir = None


def _note() -> None:
    """The moment and the folder of the start, which modules take for those of their import."""
    logging: Any = sys.modules.get("logging")
    if logging is not None:
        now = time.time_ns()
        logging._startTime = now if isinstance(logging._startTime, int) else now / 1e9  # an int from Python 3.13 on
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        with suppress(OSError):
            process.ORIGINAL_DIR = os.getcwd()  # noqa: PTH109 - no object of it is needed


def _forget_clock(names: dict[str, Any]) -> None:
    """libuuid's own clock would go on as a copy in each child; Python's is made anew, for each version of a UUID.

    libuuid still says what the node is: else a program would be run to find out.
    """
    if generate := names["_generate_time_safe"]:
        names["_GETTERS"].insert(0, lambda: names["UUID"](bytes=generate()[0]).node)
    names.update({name: None for name in names if name.startswith("_last_timestamp")})
    names.update(_node=None, _generate_time_safe=None)


def _is_chosen(tempfile: Any) -> bool:
    """The folder is not the one that it would find by itself."""
    try:
        return bool(tempfile._get_default_tempdir() != tempfile.tempdir)
    except OSError:
        return False


def _private() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in _PRIVATE]


def _shadowed(folder: str, with_site: frozenset[str]) -> Iterator[str]:
    """Modules for which a fresh interpreter would find a file in `folder` first. Those that it has built in, or loads
    before the script, are none."""
    try:
        stems = {entry.partition(".")[0] for entry in os.listdir(folder)} if folder else set()
    except OSError:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] in stems - {"encodings"} - with_site]:
        spec = getattr(sys.modules[name], "__spec__", None)
        if spec is not None and spec.origin not in ("built-in", "frozen"):
            yield name


def _added() -> dict[bytes, bytes]:
    """What of the environment this process was not given: set by a preload, as DJANGO_SETTINGS_MODULE is, or by
    the interpreter, which would do the same for the script (LC_CTYPE, PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        given = set(file.read().split(b"\0"))
    return {name: value for name, value in os.environb.items() if name + b"=" + value not in given}
