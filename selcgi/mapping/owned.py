"""Whether what the mapping has decided may stand, by its categories: they are nobody's, or the user's own.

Decides for a context whose c{user} and c{request} are not filled yet. Those of a mapping file were looked at when it
was read (categories.clashes); a directory's and the login mapping's come with the request. Must not know who has which.
Asked by serve/categories.py for every request; by cli/mapping.py and diagnose/explaining.py for one to be explained.
"""

from selcgi.errors import Denied
from selcgi.mapping.categories import USER, Bands, clash, wants
from selcgi.mapping.table import Verdict
from selcgi.mapping.told import PARAM


def check_categories(verdict: Verdict, user: str | None, given: Bands | None) -> None:
    """Denied where they could be somebody else's, or where nobody is there whose they could be. `given`: from which
    bands users or requests are given some; None where no rule gives any."""
    if wants(verdict.spec, USER):
        if user is None:
            reason = f"rule {verdict.where} has {USER}, and the request has no user"
            raise Denied(reason, "write a line for __anonymous__ before it", rule=verdict.where)
        return
    over_all = not verdict.where.startswith(PARAM)  # whoever may write a directory does not dominate everybody by that
    if given is not None and (span := clash(verdict.spec.range or "", given, over_all)):
        reason = f"{verdict.where} has {span}, which can be somebody's own"
        raise Denied(reason, f"use others than {given.user} and {given.request}", rule=verdict.where)
