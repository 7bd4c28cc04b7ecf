"""The policy's store: the ports and labels that it names, and the modules in it, by semanage(8) and semodule(8).

Decides nothing. It takes root, and but for modules the package policycoreutils-python-utils; where a question has no
answer it says None, and the caller says what that means. Called by cli/policy.py, cli/categories.py and
learn/rehearsal.py.
"""

import shlex
import subprocess
from pathlib import Path

from selcgi.errors import PolicyRefused, RegistryFailed

_SEMODULE = "/usr/sbin/semodule"
_SEMANAGE = "/usr/sbin/semanage"
_SECONDS = 60
_BUILD_SECONDS = 600  # a change builds the whole policy anew
_ADMINISTRATORS = "400"  # the priority of semodule -i


def list_ports() -> list[str] | None:
    """The lines of `semanage port -l -n`, None when they can't be had."""
    line = [_SEMANAGE, "port", "-l", "-n"]
    try:
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def add_or_change(command: tuple[str, ...]) -> tuple[str, ...]:
    """Run `command`, whose -a adds what is not known yet, or else with -m, which changes what is. RegistryFailed.

    What was run in the end.
    """
    said = ""
    for how in ("-a", "-m"):
        words = tuple(how if word == "-a" else word for word in command)
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_BUILD_SECONDS, check=False
            )
        except OSError as error:
            raise RegistryFailed(f"semanage can't be run: {error.strerror}", shlex.join(command)) from None
        except subprocess.TimeoutExpired:
            raise RegistryFailed(f"semanage did not end in {_BUILD_SECONDS} s", shlex.join(command)) from None
        if done.returncode == 0:
            return words
        said = done.stderr.decode(errors="replace").strip()[-300:]
    raise RegistryFailed(f"semanage fails: {said!a}", shlex.join(command))


def other_module(name: str) -> str:
    """The module or package of this name that is no administrator's own, of any policy; empty without one."""
    stores = Path("/var/lib/selinux").glob(f"*/active/modules/*/{name}")
    packages = Path("/usr/share/selinux").glob(f"*/{name}.*")
    try:
        found = [path for path in (*stores, *packages) if path.parent.name != _ADMINISTRATORS]
    except OSError:  # not root: what semodule would see can't be seen
        return ""
    return str(found[0]) if found else ""


def load_module(path: Path) -> None:
    """PolicyRefused with semodule's own words when it is not taken."""
    _semodule("-i", str(path))


def remove_module(name: str) -> None:
    """One that is not there is no mistake."""
    if any(line.split()[:1] == [name] for line in _semodule("-l").splitlines()):
        _semodule("-r", name)


def _semodule(*words: str) -> str:
    """In a session of its own: Ctrl-C is for who waits, not for a store half written."""
    line = [_SEMODULE, *words]
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        raise PolicyRefused(
            f"cannot run {_SEMODULE}: {error.strerror}", "install policycoreutils, run as root"
        ) from None
    except subprocess.TimeoutExpired:
        raise PolicyRefused(f"semodule did not end in {_BUILD_SECONDS} s", f"semodule {' '.join(words)}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-500:]
        raise PolicyRefused(
            f"semodule {' '.join(words)} failed: {said}", "run it as root, in a domain that may manage policy"
        )
    return done.stdout
