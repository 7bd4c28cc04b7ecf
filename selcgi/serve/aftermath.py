"""A request that failed in a way that the policy may be behind: its reason says what the policy lacks, or that it lacks
nothing; and where its script speaks of a refusal that nobody was told of, that this is possible.

Decides nothing about the request: the error stays what it is, with a better reason. Asks the policy a dozen questions,
and only of such a request. Called by serve/request.py while the script is still open, and by serve/denials.py once it
is known what the kernel has told.
"""

from selcgi.errors import SelcgiError
from selcgi.plan import Exit, Plan
from selcgi.serve.accesslog import Entry
from selcgi.serve.exchange import Exchange
from selcgi.serve.failures import kind
from selcgi.system.refusals import SILENT
from selcgi.system.selinux import Labels
from selcgi.system.symptoms import End, symptom_of


def explain_end(error: SelcgiError, labels: Labels, plan: Plan, how: Exit | None, exchange: Exchange) -> None:
    """Add to the reason of `error` what the policy has to do with it."""
    symptom = symptom_of(End(error, how, exchange.stdout.data, exchange.stderr.data))
    if symptom is None or labels.policy is None:
        return
    missing, fix = labels.lacking(plan.context, plan.script, symptom.steps)
    if missing or symptom.otherwise:
        error.reason = f"{error.reason}; {missing or symptom.otherwise}"
        error.fix = fix or error.fix


def suspect_silent(entry: Entry) -> None:
    """The kernel has told of no refusal: where that is no proof of there being none, say so."""
    failed = kind(entry) == "failed" or (not entry.reason and entry.exit not in ("", "0"))
    if entry.complained and failed and not entry.denied and "dontaudit" not in entry.reason:
        entry.fix = f"{entry.fix}; {SILENT}" if entry.fix else SILENT
