"""The demo's judgement: which record proves a refusal, and which verdict a table gets."""

import dataclasses

import pytest

from tests.demo import ALL_ALLOWED
from tests.demo.requests import ASKING, CELLS, PROBES, Row, cause
from tests.demo.table import PROMISED, judge, verdict
from tests.enforcing import site
from tests.guest import audit

BOBS = "system_u:object_r:user_webapp_rw_t:s0:c2"
SMTP = "system_u:object_r:smtp_port_t:s0"


def denial(what: str, target: str, tclass: str, source: str = "system_u:system_r:user_webapp_t:s0:c1") -> audit.Avc:
    avc = audit.parse(f"avc:  denied  {{ {what} scontext={source} tcontext={target} tclass={tclass} permissive=0")
    assert avc is not None
    return avc


RIGHT = {
    "other": denial('read } for  pid=7 name="bob.txt"', BOBS, "file"),
    "connect": denial("name_connect } for  pid=7 dest=25", SMTP, "tcp_socket"),
    "signal": denial("signal } for  pid=7", site.context_of("bob"), "process"),
}
WRONG = {
    "other": [
        denial('read } for  pid=7 name="shadow"', BOBS, "file"),
        denial('read } for  pid=7 name="bob.txt"', "system_u:object_r:shadow_t:s0", "file"),
    ],
    "connect": [
        denial("name_connect } for  pid=7 dest=80", SMTP, "tcp_socket"),
        denial("name_connect } for  pid=7 dest=25", "system_u:object_r:http_port_t:s0", "tcp_socket"),
    ],
    "signal": [denial("signal } for  pid=7", "system_u:system_r:init_t:s0", "process")],
}


@pytest.mark.parametrize("cell", RIGHT)
def test_a_refusal_is_proven_by_the_record_of_its_very_target(cell: str) -> None:
    assert cause(cell, "alice", (*WRONG[cell], RIGHT[cell])) == RIGHT[cell]
    assert cause(cell, "alice", tuple(WRONG[cell])) is None
    assert cause(cell, "bob", (RIGHT[cell],)) is None


def row(user: str, probe: str, seen: dict[str, str]) -> Row:
    cited = {cell: RIGHT["other"] for cell, word in seen.items() if word == "no"}
    if user == "carol":
        return Row(user, probe, "-", "-", 403, {}, {}, False)
    return Row(user, probe, "site.map:1", site.context_of(user), 200, seen, cited, True)


def table(seen: dict[str, str]) -> list[Row]:
    return [row(user, probe, seen) for user in ASKING for probe in PROBES]


def words(rows: list[Row]) -> str:
    return verdict(rows, judge(rows))


ALLOWED = dict.fromkeys(CELLS, "yes")


def test_the_verdicts() -> None:
    assert words(table(PROMISED)) == "verdict: every cell is as the mapping says"
    assert words(table(ALLOWED)) == ALL_ALLOWED


def test_what_is_not_all_allowed() -> None:
    """A crash half way, a script that said nothing, one access refused after all, another context."""
    rows = table(ALLOWED)
    first = rows[0]
    others = [
        row("alice", first.probe, {}),
        row("alice", first.probe, {**ALLOWED, "other": "no"}),
        dataclasses.replace(first, status=500),
        dataclasses.replace(first, context=site.context_of("bob")),
    ]
    for changed in ([], rows[:-1], rows[:1], *([other, *rows[1:]] for other in others)):
        assert verdict(changed, ["something"]) == "verdict: WRONG"


def test_a_denial_that_no_cell_explains_is_a_mistake() -> None:
    for user in ("alice", "carol"):
        strange = dataclasses.replace(row(user, "probe.sh", PROMISED), strange=(WRONG["signal"][0],))
        (mistake,) = judge([strange])
        assert "init_t" in mistake
