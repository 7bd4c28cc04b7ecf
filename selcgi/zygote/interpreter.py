"""This process as if the interpreter of the script's first line had been started: its name, its prefix, its packages.

Decides for which interpreters one zygote can stand: those that are the same binary, as those of virtual environments
are (venv, pyvenv.cfg); what differs is where they look for packages, and that is the module `site`'s to find out. Must
not import anything of theirs but what site does. Called once by zygote/main.py, before anything is loaded.
"""

import os
import sys
from pathlib import Path

from selcgi.errors import LoadFailed

_ENV = "/usr/bin/env"
_HARMLESS = frozenset("EsBuIP")  # of python(1): nothing, or what a zygote has or can do later
_ONLY_PYTHON = "warm interpreters run Python alone: leave warm= out of the rule"


def become(interpreter: str, flags: str) -> frozenset[str]:
    """The letters of `flags`. Both are of the script's first line; without one it is taken for this program's own.

    LoadFailed when this process can't stand for it.
    """
    words = flags.split()
    path = interpreter or sys.executable
    if path == _ENV:
        path, words = _in_path(words[0] if words else ""), words[1:]
    if os.path.realpath(path) != os.path.realpath(sys.executable):
        raise LoadFailed(*_another(path))
    letters = frozenset("".join(word.removeprefix("-") for word in words))
    if not letters <= _HARMLESS or not all(word.startswith("-") for word in words):
        allowed = " ".join(f"-{letter}" for letter in sorted(_HARMLESS))
        raise LoadFailed(
            f"a warm interpreter can't be started with {flags}", f"leave all but {allowed} out of the #! line"
        )
    _look_like(path)
    if "B" in letters:
        sys.dont_write_bytecode = True
    return letters


def _look_like(path: str) -> None:
    """As site has it at a start: -S has kept it from that."""
    sys.executable = path
    sys.prefix, sys.exec_prefix = sys.base_prefix, sys.base_exec_prefix
    environment = Path(path).parent.parent
    if sys.version_info >= (3, 14) and (environment / "pyvenv.cfg").exists():
        sys.prefix = sys.exec_prefix = str(environment)  # up to 3.13 it is site that does this
    import site

    site.main()


def _in_path(name: str) -> str:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)  # noqa: PTH118
        if name and os.access(path, os.X_OK):
            return path
    raise LoadFailed(
        f"{_ENV} finds no {name or 'program'} in PATH", "name the interpreter by its path, or set --env PATH="
    )


def _another(path: str) -> tuple[str, str]:
    real = os.path.realpath(path)
    if not os.path.basename(real).startswith("python"):  # noqa: PTH119
        return f"its interpreter is {path}", _ONLY_PYTHON
    own = os.path.realpath(sys.executable)
    reason = f"its interpreter {path} is {real}, and bin/selcgi-zygote is run by {own}"
    return reason, "install selcgi with that Python, name another in the #! line, or leave warm= out of the rule"
