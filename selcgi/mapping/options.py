"""The options of a rule: what narrows its match, and the limits that it sets.

Decides which keys exist, what values they take and that narrowing comes first. Must not look an account or a path up:
the kernel is asked when the table is put to use. Called by rules.py, and by cli/warm.py for the values of --warm and
--preload; a mistake is raised as Mistake.
"""

import difflib
import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from selcgi.context import ContextSpec
from selcgi.mapping.words import Glob, Mistake, read_glob, show, unquote

DAY_SECONDS = 24 * 60 * 60
BYTES_MOST = 1 << 50
NICE_MOST = 19  # setpriority(2)
PROCESSORS_MOST = 8192  # CONFIG_NR_CPUS, arch/x86/Kconfig
COUNT_MOST = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh]?)")
_SIZE = re.compile(r"([0-9]{1,16})([KMG]?)")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")  # what useradd(8) makes, capitals and dots too
_SECONDS_OF = {"": 1, "s": 1, "m": 60, "h": 60 * 60}
_BYTES_OF = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Options:
    """What a rule sets. `limits` are fields of plan.Limits with their values; what is not named keeps its default.
    `warm` is yes, no, wsgi:NAME or wsgi:MODULE:NAME, and empty where the rule does not say."""

    sendfile: bool = False
    account: str = ""
    limits: tuple[tuple[str, float], ...] = ()
    warm: str = ""


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a request must have besides its user. None: anything."""

    script: Glob | None = None
    host: Glob | None = None


NO_NARROWING = Narrowing()


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    value = float(found[1]) * _SECONDS_OF[found[2]] if found else 0.0
    if not 0 < value <= DAY_SECONDS:
        raise Mistake(f"{show(text)} is no time above 0 and up to 24h", "write seconds, or a number with s, m or h")
    return value


def _whole_seconds(text: str) -> int:
    value = _seconds(text)
    if value != int(value):
        raise Mistake(
            f"{show(text)} is not in whole seconds", "processor time is limited by the second, write 1 or more"
        )
    return int(value)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    value = int(found[1]) * _BYTES_OF[found[2]] if found else 0
    if not 1 <= value <= BYTES_MOST:
        raise Mistake(f"{show(text)} is no size from 1 byte to 1048576G", "write bytes, or a number with K, M or G")
    return value


def _count(text: str) -> int:
    value = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= value <= COUNT_MOST:
        raise Mistake(f"{show(text)} is no number from 1 to {COUNT_MOST}", "write a whole number")
    return value


def _niceness(text: str) -> int:
    value = int(text) if re.fullmatch(r"[0-9]{1,2}", text) else 0
    if not 1 <= value <= NICE_MOST:
        raise Mistake(f"{show(text)} is no niceness from 1 to {NICE_MOST}", "write a whole number, 19 is the nicest")
    return value


def _processors(text: str) -> float:
    value = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", text) else 0.0
    if not 0 < value <= PROCESSORS_MOST:
        reason = f"{show(text)} is no number of processors from 0.01 to {PROCESSORS_MOST}"
        raise Mistake(reason, "write 2, or 0.5 for half of one")
    return value


_LIMITS: dict[str, tuple[str, Callable[[str], float]]] = {
    "timeout": ("total_seconds", _seconds),
    "first-byte-timeout": ("first_byte_seconds", _seconds),
    "idle-timeout": ("idle_seconds", _seconds),
    "memory": ("memory_bytes", _bytes),
    "file-size": ("file_bytes", _bytes),
    "max-body": ("body_bytes", _bytes),
    "cpu": ("cpu_seconds", _whole_seconds),
    "processes": ("processes", _count),
    "files": ("open_files", _count),
    "max": ("requests", _count),
    "nice": ("nice", _niceness),
    "cpus": ("cpus", _processors),
}
_NARROWING = ("script", "host")
_KEYS = (*_NARROWING, *_LIMITS, "sendfile", "uid", "warm")


def read_options(words: Sequence[str]) -> tuple[Narrowing, Options]:
    """The options of one line. Mistake names the first that is unknown, given twice, out of order or out of bounds."""
    count = 0
    while count < len(words) and words[count].startswith(("script=", "host=")):
        count += 1
    return _narrowing(words[:count]), _settings(tuple(words[count:]))


def _narrowing(words: Sequence[str]) -> Narrowing:
    script = host = None
    for key, value in _pairs(words):
        if key == "script":
            script = read_script_glob(value)
        else:
            host = _host_glob(value)
    return Narrowing(script, host)


@lru_cache(maxsize=4096)  # many lines set the same: one value for all of them saves time and memory
def _settings(words: tuple[str, ...]) -> Options:
    if not words:
        return NO_OPTIONS
    limits = []
    sendfile, account, warm = False, "", ""
    for key, value in _pairs(words):
        if key in _NARROWING:
            raise Mistake(f"{key} narrows the match and comes after a limit", f"put {key}= right after the context")
        if key == "sendfile":
            sendfile = _yes(value)
        elif key == "uid":
            account = _account(value)
        elif key == "warm":
            warm = _warm(value)
        else:
            limits.append((_LIMITS[key][0], _limit(key, value)))
    return Options(sendfile, account, tuple(limits), warm)


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for word in words:
        key, value = _pair(word)
        if key in seen:
            raise Mistake(f"{key} is given twice", "keep one of the two; two scripts or hosts are two rules")
        seen.add(key)
        yield key, value


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise Mistake(f"{show(word)} is no option (key=value)", "a name with blanks is written in quotes")
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, n=1)
        raise Mistake(
            f"unknown key {show(key)}",
            f"did you mean {show(near[0])}?" if near else f"the keys are {', '.join(_KEYS)}",
        )
    if not unquote(value):
        raise Mistake(f"{key} has no value", f"write {key}=VALUE without blanks around the =")
    return key, unquote(value)


def read_script_glob(text: str) -> Glob:
    """A glob that no path can match is a mistake, since a `deny` that never matches lets everyone through."""
    if text[0] not in "/*?[" or re.search(r"//|/\.\.?(/|$)|/$", text):
        raise Mistake(
            f"script={show(text)} matches no script",
            "write an absolute path without //, . or .., and end a directory with /*",
        )
    return read_glob(text)


def _host_glob(text: str) -> Glob:
    """In lower case, as host names have none (RFC 3986 section 3.2.2)."""
    if "/" in text or re.search(r":[0-9]+$|\.$", text):
        raise Mistake(f"host={show(text)} matches no host", "write the name alone, without scheme, port or last dot")
    return read_glob(text.lower())


def _limit(key: str, value: str) -> float:
    try:
        return _LIMITS[key][1](value)
    except Mistake as mistake:
        raise Mistake(f"{key}={mistake.reason}", mistake.fix) from None


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise Mistake(f"sendfile={show(text)} is neither yes nor no", "write sendfile=yes or leave it out")
    return text == "yes"


def _warm(text: str) -> str:
    """With the name of the WSGI application written out: `wsgi` alone stands for mod_wsgi's, `application`."""
    kind, colon, target = text.partition(":")
    if kind != "wsgi":
        if text not in ("yes", "no"):
            raise Mistake(f"warm={show(text)} is no kind of warm start", "write yes, no, wsgi or wsgi:MODULE:NAME")
        return text
    module, _, name = target.rpartition(":") if colon else ("", "", "application")
    if not is_module(name) or "." in name or (":" in target and not is_module(module)):
        fix = "write wsgi:NAME for a name in the script, or wsgi:MODULE:NAME; a MODULE may have dots"
        raise Mistake(f"warm={show(text)} names no WSGI application", fix)
    return f"wsgi:{target or name}"


def check_zygote(spec: ContextSpec) -> None:
    """Mistake when warm= can't go with that context, whose domain has no zygote beside it by its name."""
    whole = spec.without_kernel()
    try:
        whole.zygote(own=whole)
    except ValueError as error:
        raise Mistake(
            f"warm= needs a domain with a zygote: {error}", "name it X_webapp_t, or leave warm= out"
        ) from None


def is_module(name: str) -> bool:
    """True for what Python can import by that name (The Python Language Reference, section 7.11): `a`, `a.b`."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


def _account(name: str) -> str:
    if name == "root" or re.fullmatch(r"[+-]?0+", name):
        raise Mistake("uid=root: a script never runs as root", "name an account that owns nothing else")
    if _ACCOUNT.fullmatch(name) is None:
        raise Mistake(f"uid={show(name)} is no account", "write the account's name, not its number")
    return name
