"""This process as if the interpreter of the script's first line had been started: its name, its flags, its packages.

Decides for which interpreters one zygote can stand: those that are the same binary, as those of virtual environments
are (venv, pyvenv.cfg); what differs is where they look for packages, and that is the module `site`'s to find out. The
account's own packages (~/.local) are left to the children: who can write there must not get code into a process that
may become every user. Must not import anything but what site does. Called once by zygote/main.py, before all loading.
"""

import ctypes
import os
import site
import sys
import warnings
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from selcgi.errors import LoadFailed

# What a letter after the interpreter sets in sys.flags (python(1)).
_LETTERS = {
    "B": {"dont_write_bytecode"},
    "E": {"ignore_environment"},
    "I": {"isolated", "ignore_environment", "no_user_site", "safe_path"},
    "P": {"safe_path"},
    "s": {"no_user_site"},
    "u": set[str](),
}
_VARIABLES = {
    "PYTHONDONTWRITEBYTECODE": "dont_write_bytecode",
    "PYTHONNOUSERSITE": "no_user_site",
    "PYTHONSAFEPATH": "safe_path",
}
# The start reads them, and this process has been started. PYTHONHASHSEED: a zygote's children share one seed.
_TOO_LATE = (
    *("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONOPTIMIZE", "PYTHONDEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC"),
    *("PYTHONHASHSEED", "PYTHONPYCACHEPREFIX", "PYTHONCOERCECLOCALE", "PYTHONFAULTHANDLER", "PYTHONVERBOSE"),
    *("PYTHONINTMAXSTRDIGITS", "PYTHONWARNDEFAULTENCODING", "PYTHONNODEBUGRANGES"),
)
_COLD = "leave warm= out of the rule"


class Interpreter(NamedTuple):
    """What its start has decided."""

    words: tuple[str, ...]  # of sys.orig_argv, before the script
    flags: frozenset[str]  # names in sys.flags that are set
    unbuffered: bool
    encoding: str  # of the standard streams: PYTHONIOENCODING, empty without it
    user_site: str  # where packages of the account are, when it would look for them; else empty
    user_after: str  # what they come after in sys.path
    with_site: frozenset[str]  # modules that it has loaded before the script


def become(interpreter: str, flags: str, package: str) -> Interpreter:
    """`interpreter` and `flags` are of the script's first line; without one it is taken for this program's own.

    `package` is where selcgi was found: not a place of the script's. LoadFailed when this process can't stand for it.
    """
    named, *words = _resolve(interpreter or sys.executable, flags.split())
    if os.path.realpath(named) != os.path.realpath(sys.executable):
        raise LoadFailed(*_another(named))
    letters = _letters(words)
    wanted = frozenset().union(*(_LETTERS[letter] for letter in letters))
    heeded = {} if "ignore_environment" in wanted else os.environ
    wanted |= {flag for name, flag in _VARIABLES.items() if heeded.get(name)}
    for name in _TOO_LATE:
        if heeded.get(name, "random") != "random":
            raise LoadFailed(f"{name} is set, which a warm interpreter can't follow", f"unset it, or {_COLD}")
    if heeded.get("PYTHONUTF8", str(sys.flags.utf8_mode)) != str(sys.flags.utf8_mode):
        raise LoadFailed("PYTHONUTF8 is set, which a warm interpreter can't follow", f"set LC_ALL instead, or {_COLD}")
    places = heeded["PYTHONPATH"].split(":") if heeded.get("PYTHONPATH") else []
    if not all(map(os.path.isabs, places)):  # an empty one is the folder of the request's process
        reason = "PYTHONPATH names a place by no absolute path, which a warm interpreter can't follow"
        raise LoadFailed(reason, f"name it whole, or {_COLD}")
    _set_flags(wanted)
    sys.path[:] = [*places, *(folder for folder in sys.path if folder != package)]
    _warn(heeded.get("PYTHONWARNINGS", ""))
    before = frozenset(sys.modules)
    after = _find_packages(named)
    return Interpreter(
        words=(named if os.path.basename(interpreter) != "env" else os.path.basename(named), *words),  # noqa: PTH119
        flags=wanted,
        unbuffered="u" in letters or bool(heeded.get("PYTHONUNBUFFERED")),
        encoding=heeded.get("PYTHONIOENCODING", ""),
        user_site=site.getusersitepackages() if site.ENABLE_USER_SITE else "",
        user_after=after,
        with_site=frozenset(sys.modules) - before,
    )


def _resolve(path: str, words: list[str]) -> list[str]:
    """The interpreter's path, and its flags. env(1) takes a program's name, and after -S its flags."""
    if os.path.basename(path) != "env":  # noqa: PTH119
        return [path, *words]
    name, *rest = words[1:] if words[:1] == ["-S"] else words or [""]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = os.path.join(folder, name)  # noqa: PTH118
        if name and folder and os.access(found, os.X_OK):
            return [found, *rest]
    raise LoadFailed(f"{path} finds no {name or 'program'} in PATH", "name the interpreter by its path, or --env PATH=")


def _another(path: str) -> tuple[str, str]:
    real = os.path.realpath(path)
    if not os.path.basename(real).startswith(("python", "pypy")):  # noqa: PTH119
        return f"its interpreter is {path}", f"warm interpreters run Python alone: {_COLD}"
    own = os.path.realpath(sys.executable)
    reason = f"its interpreter {path} is {real}, and bin/selcgi-zygote is run by {own}"
    return reason, f"install selcgi with that Python, name another in the #! line, or {_COLD}"


def _letters(words: list[str]) -> AbstractSet[str]:
    letters = set("".join(word.removeprefix("-") for word in words))
    if not letters <= _LETTERS.keys() or not all(word.startswith("-") for word in words):
        allowed = " ".join(f"-{letter}" for letter in _LETTERS)
        reason = f"a warm interpreter can't be started with {' '.join(words)}"
        raise LoadFailed(reason, f"leave all but {allowed} out of the #! line, or {_COLD}")
    return letters


def _set_flags(wanted: AbstractSet[str]) -> None:
    """sys.flags as that start would have them: others rely on them, as multiprocessing for what it starts.

    Python offers no way; PyStructSequence_SetItem() is of its C API.
    """
    names: tuple[str, ...] = type(sys.flags).__match_args__
    put = ctypes.pythonapi.PyStructSequence_SetItem
    put.argtypes, put.restype = (ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object), None
    for name in ("isolated", "ignore_environment", "no_site", "no_user_site", "safe_path", "dont_write_bytecode"):
        value = name in wanted if name == "safe_path" else int(name in wanted)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))  # it takes a reference
        put(sys.flags, names.index(name), value)
    sys.dont_write_bytecode = "dont_write_bytecode" in wanted


def _warn(options: str) -> None:
    if options:
        sys.warnoptions[:] = options.split(",")
        warnings._processoptions(sys.warnoptions)  # type: ignore[attr-defined]


def _find_packages(path: str) -> str:
    """As site does at a start: -S has kept it from that. ENABLE_USER_SITE then says what the children may do.

    What the account's packages come after is returned: site asks for them behind those of a virtual environment, and
    before those of the system.
    """
    sys.executable = path
    sys.prefix, sys.exec_prefix = sys.base_prefix, sys.base_exec_prefix
    place = os.path.dirname(os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120
    if sys.version_info >= (3, 14) and os.path.exists(f"{place}/pyvenv.cfg"):  # noqa: PTH110
        sys.prefix = sys.exec_prefix = place  # up to 3.13 it is site that does this
    site.PREFIXES[:] = [sys.prefix, sys.exec_prefix]  # as at its import, when the prefix was this program's own
    site.ENABLE_USER_SITE = False
    after, add = "", site.addusersitepackages

    def look(known_paths: set[str]) -> set[str]:
        nonlocal after
        after = sys.path[-1]
        return add(known_paths)

    site.addusersitepackages = look
    try:
        site.main()
    finally:
        site.addusersitepackages = add
    alone = sys.prefix != sys.base_prefix and sys.base_prefix not in site.PREFIXES
    site.ENABLE_USER_SITE = not alone and site.check_enableusersite()
    return after
