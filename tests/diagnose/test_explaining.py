"""`selcgi explain` of a rule with c{user}: what it shows is somebody's, and says so."""

from pathlib import Path

from selcgi.diagnose.explaining import Machine, Told, explain_request
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.table import Query, Table
from tests.diagnose.shipped import scene

RULES = b"* user_webapp_t:s0:c{user}\n"


class NoLabels:
    def label(self, path: str) -> str:
        return path[:0]

    def expected(self, path: str, mode: int) -> str:  # noqa: ARG002
        return path[:0]


MACHINE = Machine(NoLabels(), (Path("/nowhere"),), "/usr/bin")


def told(user: str | None) -> Told:
    query = Query(user, "/nowhere/report.cgi", "localhost")
    return explain_request(scene(), Chain([Table([Index(RULES, "site.map")])]), query, MACHINE)


def test_the_context_is_one_that_some_user_has() -> None:
    of_alice = told("alice")
    assert of_alice.context.endswith(":user_webapp_t:s0:c1022,c1023, by way of example for s0:c{user}")
    assert of_alice.answers[0].why.startswith("selcgi does not start: /nowhere can't be opened")


def test_nobody_known_is_refused_as_a_request_would_be() -> None:
    assert told(None).refused.startswith("rule site.map:1 has c{user}, and the request has no user")
