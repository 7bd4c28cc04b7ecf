"""Names and paths that may stand in a policy module, and how a path becomes the pattern of a file context.

Decides what is safe to write: a name that is no other module's, a path that takes no folder of the system along. A
pattern is a regular expression in a quoted string of CIL, which knows no escape for a quote (file_contexts(5)). Must
not look at the system. Raises PolicyRefused. Used by policy/application.py and cli/policy.py.
"""

import posixpath
import re

from selcgi.errors import PolicyRefused

_IS_NAME = re.compile(r"[a-z][a-z0-9_]{1,31}").fullmatch
_IS_PATH = re.compile(r"/[!#-\[\]-~]*").fullmatch  # printable ASCII without blank, quote and backslash
_IS_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}").fullmatch
_SPECIAL = re.compile(r"([.^$?*+|\[\](){}])")
_TAKEN = ("selcgi", "webapp", "avc", "base")  # modules of selcgi's own, and of every distribution
# What no application owns, nor anything beneath it.
_CLOSED = (
    *("/proc", "/sys", "/dev", "/boot", "/etc/selcgi", "/etc/selinux", "/run/selcgi", "/var/log/selcgi"),
    *("/var/spool/selcgi", "/opt/selcgi", "/var/lib/selinux"),
)
# Where programs and configuration lie: never to be changed by a script, and not to be relabelled as a whole.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/root")
_NOT_WHOLE = (
    *("/", "/home", "/mnt", "/media", "/opt", "/run", "/srv", "/tmp", "/var", "/srv/cgi", "/srv/data", "/srv/public"),  # noqa: S108
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/local", "/usr/local/bin"),
    *("/usr/local/lib", "/usr/local/share", "/usr/lib/cgi-bin", "/var/cache", "/var/lib", "/var/log", "/var/mail"),
    *("/var/spool", "/var/tmp", "/var/www", "/var/www/html", "/var/www/cgi-bin"),  # noqa: S108
    *_SYSTEM,
)
# libselinux looks these up under another name (file_contexts.subs_dist), so a pattern of theirs would match nothing.
_OTHER_NAMES = {"/var/run": "/run", "/var/lock": "/run/lock"}


def checked_name(name: str) -> str:
    """The name of an application: of its module, and of the block that holds its types."""
    if not _IS_NAME(name):
        raise PolicyRefused(f"{name!a} is no name of an application", "begin with a letter, go on with a-z, 0-9 and _")
    if name in _TAKEN or name.startswith("selcgi"):
        raise PolicyRefused(f"{name!r} is the name of a module that is there already", "choose another name")
    return name


def checked_type(name: str) -> str:
    if not _IS_TYPE(name):
        raise PolicyRefused(f"{name!a} is no name of a type", "see them with: semanage port -l")
    return name


def checked_path(text: str, changes: bool = False) -> str:
    """An absolute path in its plain form. `changes`: a script shall be able to change what is there."""
    path = posixpath.normpath(text)
    if not _IS_PATH(text):
        reason = (
            f"{text!a} can't stand in a file context: an absolute path of printable ASCII without blanks and quotes"
        )
        raise PolicyRefused(reason, "give the place another name, or write the context by hand")
    if ".." in text.split("/") or path.startswith("//"):
        raise PolicyRefused(f"{text} is not written plainly", "leave out .. and double slashes")
    for other, real in _OTHER_NAMES.items():
        if _beneath(path, other):
            raise PolicyRefused(f"the policy knows {path} by another name", f"write {real}{path.removeprefix(other)}")
    if _beneath(path, "/home"):
        fix = f"label it by hand: semanage fcontext -a -t NAME.rw_t '{path}(/.*)?'"
        raise PolicyRefused(f"{path}: the policy's own patterns for homes come after those of modules", fix)
    if path in _NOT_WHOLE or any(_beneath(path, one) for one in _CLOSED):
        raise PolicyRefused(f"{path} belongs to the system", "give the application a folder of its own")
    if changes and any(_beneath(path, one) for one in _SYSTEM):
        raise PolicyRefused(f"{path}: no script may change what lies there", "write to /var/lib/NAME or /srv/NAME")
    return path


def _beneath(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def pattern(path: str) -> str:
    """A regular expression that matches this path and no other."""
    return _SPECIAL.sub(r"\\\1", path)
