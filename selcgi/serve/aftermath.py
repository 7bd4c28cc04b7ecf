"""A request that failed in a way that the policy may be behind: its reason says what the policy lacks, or that it lacks
nothing.

Decides nothing about the request: the error stays what it is, with a better reason. Asks the policy a dozen questions,
and only of such a request. Called by serve/request.py while the script is still open.
"""

from selcgi.errors import SelcgiError
from selcgi.plan import Exit, Plan
from selcgi.serve.exchange import Exchange
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
