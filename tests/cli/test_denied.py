"""Refusals of the kernel where people look: the line of the log, the status, a record; nothing of them reaches a
terminal as it is."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from selcgi.cli import failures, status
from selcgi.serve.accesslog import Entry
from selcgi.serve.board import Board
from selcgi.serve.denialpage import ROWS, LastDenial, Told
from selcgi.serve.failures import kind
from selcgi.serve.status import metrics
from selcgi.serve.status import status as made

SENTENCES = ("alice's script a.cgi wanted to read x: refused, no rule allows it", "and 3 more like these")


def test_the_line_has_them_as_one_field() -> None:
    entry = Entry(id="abc", status=200, denied=SENTENCES)
    assert str(entry).endswith(f" denied={json.dumps('; '.join(SENTENCES))}")
    assert json.loads(json.dumps(entry.fields()))["denied"] == list(SENTENCES)
    assert "denied" not in str(Entry()) + str(Entry().fields())


def test_an_answer_with_refusals_has_a_kind_of_its_own() -> None:
    assert kind(Entry(status=200)) == ""
    assert kind(Entry(status=200, denied=SENTENCES)) == "denied"
    assert kind(Entry(status=502, reason="x", denied=SENTENCES)) == "failed"


def test_a_record_shows_each() -> None:
    record: dict[str, Any] = {
        "id": "abc",
        "denied": ["read \x1b[31m"],
        "params": [],
        "changed": [],
        "stdout": "",
        "stderr": "",
    }
    (line,) = [line for line in failures._lines(record) if "denied" in line]
    assert "\x1b[31m" not in line.partition("denied:")[2]


def test_the_list_has_the_refusal_where_a_failed_request_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answered request has no reason, and what is empty is not on record."""
    rows = [
        Entry(id="abc", status=200, denied=SENTENCES),
        Entry(id="def", status=404, step="script", reason="not there"),
    ]
    found = [{"kind": kind(row) or "missing", **row.fields()} for row in rows]
    monkeypatch.setattr(failures, "records", lambda _: found)
    done = CliRunner().invoke(failures.failures, [])
    assert done.exit_code == 0, done.output + repr(done.exception)
    first, second = done.output.splitlines()[1:]
    assert first.endswith(SENTENCES[0])
    assert second.endswith("script  not there")


def board() -> Board:
    one = Board(2)
    one.pages[0].denials.counts[Told.HEARD] = 1
    one.pages[0].denials.counts[Told.JOINED] = 5
    one.pages[1].denials.counts[Told.STRAY] = 1
    for number in range(2 * ROWS):
        one.pages[number % 2].denials.add(
            LastDenial(1000.0 + number, f"id{number}", "alice", f"sentence {number} \x1b[31m")
        )
    return one


def test_the_status_adds_the_workers_up_and_shows_the_last() -> None:
    found = made(board(), "")
    assert found["denials"]["counts"] == {"joined": 5, "late": 0, "stray": 1, "skipped": 0}
    assert [row["id"] for row in found["denials"]["last"]] == [f"id{number}" for number in range(ROWS, 2 * ROWS)]
    text = status.show(found)
    assert "refused by the kernel: 5 of requests, in their lines of the log, 1 of selcgi itself" in text
    assert f"id{2 * ROWS - 1}  sentence {2 * ROWS - 1}" in text
    assert "\x1b[31m" not in text, "plain() has taken it"
    assert 'selcgi_denials_total{kind="joined"} 5' in metrics(found)


def test_the_status_says_that_nobody_listens() -> None:
    found = made(Board(1), "")
    assert "no denial listener" in status.show(found)
    assert "selcgi_denials_total" not in metrics(found)
    assert "listener" not in status.show(made(Board(1), "selinux=off"))


def test_counts_of_a_dead_worker_stay() -> None:
    one = board()
    for page in one.pages:
        page.bury(one.supervisor)
    found = made(one, "")["denials"]
    assert (found["listener"], found["counts"]["joined"], found["counts"]["stray"], found["last"]) == (0, 5, 1, [])


def test_a_long_sentence_is_cut() -> None:
    one = Board(1).pages[0].denials
    one.add(LastDenial(1.0, "id", "é" * 100, "é" * 1000))
    (row,) = one.last()
    assert row.text.endswith("...")
    assert len(row.text.encode()) <= 600
