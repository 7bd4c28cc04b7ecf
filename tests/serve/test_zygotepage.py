"""What a worker's page says of its warm interpreters: a bounded number of rows, and totals that outlive the worker."""

from dataclasses import replace

import pytest

from selcgi.serve.board import Board
from selcgi.serve.status import metrics, status
from selcgi.serve.zygotepage import _ENDED, ROWS, Row, Warmed, ZygotePage

ROW = Row("starting", 41, 5.0, 0, "shop_zygote_t", "", "shop.web:app", "/srv/cgi/shop", "")


@pytest.fixture
def page() -> ZygotePage:
    return ZygotePage(memoryview(bytearray(ZygotePage.BYTES)))


def test_a_row_from_its_start_to_its_end(page: ZygotePage) -> None:
    place = page.add(ROW)
    later = page.add(replace(ROW, pid=42, since=4.0, account="shop"))
    ready = replace(ROW, state="ready", requests=1 << 40)
    page.put(place, ready)
    assert page.rows() == [replace(ROW, pid=42, since=4.0, account="shop"), ready]
    ended = replace(ready, state="ended", since=9.0, why="it was idle")
    page.end(place, ended)
    assert page.rows()[1:] == [ended]
    assert later != place == page.add(ROW)


def test_one_too_many_is_not_shown(page: ZygotePage) -> None:
    places = [page.add(replace(ROW, pid=pid)) for pid in range(ROWS + 2)]
    assert places[ROWS:] == [-1, -1]
    page.put(-1, ROW)
    assert [row.pid for row in page.rows()] == list(range(ROWS))
    page.end(-1, replace(ROW, state="ended", pid=1000))
    page.end(places[0], replace(ROW, state="ended", pid=1001))
    assert page.add(ROW) == places[0]
    assert [row.pid for row in page.rows()[ROWS:]] == [1000, 1001]


def test_the_last_ended_ones_are_kept(page: ZygotePage) -> None:
    for pid in range(_ENDED + 3):
        page.end(page.add(ROW), replace(ROW, state="ended", pid=pid, since=float(pid)))
    assert [row.pid for row in page.rows()] == list(range(3, _ENDED + 3))


def test_long_names_are_cut(page: ZygotePage) -> None:
    page.add(replace(ROW, script="/" + "\udce4" * 300, why="\u00e9" * 300))
    (row,) = page.rows()
    assert row.script.startswith("/\\udce4")
    assert row.why == "\u00e9" * 98 + "..."


def test_totals_outlive_the_worker() -> None:
    board = Board(2)
    for number in (0, 1):
        board.pages[number].sign(0)
        board.pages[number].zygotes.add(ROW)
        board.pages[number].zygotes.counts[Warmed.STARTS] = 3
    board.pages[1].zygotes.counts[Warmed.COLD] = 1
    board.pages[1].bury(board.supervisor)
    found = status(board, "", lambda pid: pid * 1000)
    assert found["warm"]["zygote_starts"] == 6
    assert found["warm"]["warm_fallbacks"] == 1
    (row,) = found["zygotes"]
    assert (row["pid"], row["memory"], row["application"]) == (41, 41000, "shop.web:app")
    assert board.pages[1].zygotes.rows() == []


def test_metrics() -> None:
    board = Board(1)
    board.pages[0].sign(0)
    assert "zygote" not in metrics(status(board, ""))
    zygotes = board.pages[0].zygotes
    for state in ("ready", "ready", "starting", "ended"):
        zygotes.add(replace(ROW, state=state))
    zygotes.counts[Warmed.STARTS] = 4
    zygotes.counts[Warmed.REQUESTS] = 7
    lines = metrics(status(board, "")).splitlines()
    assert {'selcgi_zygotes{state="ready"} 2', 'selcgi_zygotes{state="starting"} 1'} < set(lines)
    assert {"selcgi_zygote_starts_total 4", "selcgi_warm_requests_total 7", "selcgi_warm_retries_total 0"} < set(lines)
    assert "ended" not in "".join(lines[lines.index("# TYPE selcgi_zygotes gauge") :][:3])
    assert "/srv/cgi/shop" not in str(lines)
