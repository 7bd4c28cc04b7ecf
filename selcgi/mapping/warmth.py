"""Which scripts run in a fork of a warm interpreter: those that a rule's warm= or --warm says it of.

Decides only that, and which may have a fresh program instead; whether a zygote can be had for one is launch/warm.py's
to find out. A rule's word goes before --warm, be it no. Must not look at the script: its first line is judged where it
is to be run. Called by serve/request.py for a request, by diagnose/explaining.py for one that might come.
"""

from functools import lru_cache

from selcgi.mapping.table import Verdict
from selcgi.mapping.words import Glob
from selcgi.plan import Warm
from selcgi.settings import WarmSettings

_WSGI = "wsgi:"


def warmth(verdict: Verdict, script: str, settings: WarmSettings) -> Warm | None:
    """None for a fresh program. `script` is the path that the rule was found by."""
    if verdict.warm.startswith(_WSGI):
        return Warm(verdict.warm.removeprefix(_WSGI))  # no program of its own, that could be started fresh
    wanted = verdict.warm == "yes" if verdict.warm else any(glob.matches(script) for glob in _globs(settings.scripts))
    return Warm(fallback=settings.fallback) if wanted else None


@lru_cache(maxsize=1)
def _globs(texts: tuple[str, ...]) -> tuple[Glob, ...]:
    """Made once, since each request asks them; a reload may bring others."""
    return tuple(map(Glob, texts))
