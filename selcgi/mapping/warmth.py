"""Which scripts run in a fork of a warm interpreter: those that a rule's warm= or --warm says it of.

Decides only that; whether a zygote can be had for one is launch/warm.py's to find out. A rule's word goes before
--warm, be it no. Must not look at the script: its first line is judged where it is to be run. Called by
serve/request.py for a request, by diagnose/explaining.py for one that might come.
"""

from selcgi.mapping.table import Verdict
from selcgi.mapping.words import Glob
from selcgi.plan import Warm
from selcgi.settings import WarmSettings

_WSGI = "wsgi:"


def warmth(verdict: Verdict, script: str, settings: WarmSettings) -> Warm | None:
    """None for a fresh program. `script` is the path that the rule was found by."""
    if not verdict.warm:
        return Warm() if any(Glob(text).matches(script) for text in settings.scripts) else None
    if verdict.warm == "no":
        return None
    return Warm(verdict.warm.removeprefix(_WSGI) if verdict.warm.startswith(_WSGI) else "")
