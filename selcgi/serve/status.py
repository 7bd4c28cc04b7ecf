"""What the pages of a board add up to, as values for JSON and as text for Prometheus.

Decides the names of both, which scripts of others rely on. Must not open or send anything. Used by serve/control.py.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from selcgi import VERSION
from selcgi.serve.board import Board, Count, Page
from selcgi.serve.denialpage import ROWS, Told
from selcgi.serve.log import utc
from selcgi.serve.tally import LIMITS, OTHERS
from selcgi.serve.zygotepage import Row, Warmed, ZygotePage

_WARM = {
    "zygote_starts": (Warmed.STARTS, "Warm interpreters that were started."),
    "zygote_failures": (Warmed.FAILURES, "Those that could not start, or ended though nobody ended them."),
    "warm_requests": (Warmed.REQUESTS, "Requests that ran in a fork of one."),
    "warm_retries": (Warmed.RETRIES, "Requests whose first warm interpreter was gone."),
    "warm_fallbacks": (Warmed.COLD, "Requests that got a fresh program in place of one."),
}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})  # Prometheus text format 0.0.4


def status(board: Board, note: str, memory: Callable[[int], int | None] | None = None) -> dict[str, Any]:
    """Everything that `selcgi status` shows. `note` says what protection is off; `memory` is asked for the bytes of a
    process."""
    now = time.monotonic()
    pages = [page for page in board.pages if page.counts[Count.PID]]
    tallies = [board.supervisor.retired, *(page.tally for page in board.pages)]
    users = _users(one.users() for one in tallies)
    when, good, text = board.supervisor.last_reload()
    return {
        "version": VERSION,
        "selinux": note or "enforcing",
        "workers": [_worker(page, now) for page in pages],
        "requests": [row for page in pages for row in _requests(page, now)],
        "running": board.total(Count.RUNNING),
        "waiting": board.total(Count.WAITING),
        "answers": {str(code): number for code, number in _sum(enumerate(one.statuses) for one in tallies)},
        "limits": dict(_sum(zip(LIMITS, one.limits, strict=True) for one in tallies)),
        "denials": _denials(board),
        "warm": _warm([board.supervisor.zygotes, *(page.zygotes for page in board.pages)]),
        "zygotes": [_zygote(row, page, now, memory) for page in pages for row in page.zygotes.rows()],
        "others": users.pop(OTHERS, None),
        "users": users,
        "reload": {"time": when, "good": good, "error": text} if when else None,
    }


def metrics(found: dict[str, Any]) -> str:
    """The same in the text format of Prometheus. Users are left out: their names are nobody's business there."""
    lines = [
        *_metric("selcgi_workers", "gauge", "Worker processes.", [({}, len(found["workers"]))]),
        *_metric("selcgi_requests_running", "gauge", "Requests whose script runs.", [({}, found["running"])]),
        *_metric("selcgi_requests_waiting", "gauge", "Requests that wait for a place.", [({}, found["waiting"])]),
        *_metric("selcgi_answers_total", "counter", "Answers by HTTP status; 499: the client left.",
                 [({"status": code}, number) for code, number in found["answers"].items()]),
        *_metric("selcgi_limits_total", "counter", "Requests that hit a limit.",
                 [({"limit": name}, number) for name, number in found["limits"].items()]),
    ]  # fmt: skip
    if any(found["warm"].values()):
        lines += _warm_metrics(found)
    if found["denials"]["listener"]:
        text = "Refusals of the kernel, by what became of them."
        counts = found["denials"]["counts"].items()
        lines += _metric("selcgi_denials_total", "counter", text, [({"kind": name}, number) for name, number in counts])
    if found["reload"] is not None:
        text = "Whether the last reload took the mapping over."
        lines += _metric("selcgi_reload_good", "gauge", text, [({}, int(found["reload"]["good"]))])
    return "\n".join(lines) + "\n"


def _warm_metrics(found: dict[str, Any]) -> Iterator[str]:
    states = Counter(row["state"] for row in found["zygotes"] if row["state"] != "ended")
    rows = [({"state": state}, number) for state, number in sorted(states.items())]
    yield from _metric("selcgi_zygotes", "gauge", "Warm interpreters, by what they do.", rows)
    for name, (_, text) in _WARM.items():
        yield from _metric(f"selcgi_{name}_total", "counter", text, [({}, found["warm"][name])])


def _warm(pages: list[ZygotePage]) -> dict[str, int]:
    return {name: sum(page.counts[one] for page in pages) for name, (one, _) in _WARM.items()}


def _zygote(row: Row, page: Page, now: float, memory: Callable[[int], int | None] | None) -> dict[str, Any]:
    """`seconds` since its start or its end, `memory` in bytes; None where that is not known."""
    there = row.state != "ended"
    return {
        "script": row.script,
        "application": row.application,
        "domain": row.domain,
        "account": row.account,
        "worker": page.counts[Count.PID],
        "pid": row.pid,
        "state": row.state,
        "seconds": round(now - row.since, 3),
        "requests": row.requests,
        "memory": memory(row.pid) if memory is not None and there and row.pid else None,
        "why": row.why,
    }


def _denials(board: Board) -> dict[str, Any]:
    """What the kernel refused, and the last ones. `listener`: how many workers hear of it."""
    pages = [board.supervisor.denials, *(page.denials for page in board.pages)]
    last = sorted((row for page in pages for row in page.last()), key=lambda row: row.when)[-ROWS:]
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update(page.totals())
    return {
        "listener": sum(page.counts[Told.HEARD] for page in pages),
        "counts": dict(counts),
        "last": [{"time": utc(row.when), "id": row.id, "user": row.user, "text": row.text} for row in last],
    }


def _requests(page: Page, now: float) -> list[dict[str, Any]]:
    """The longest first."""
    return [
        {
            "worker": page.counts[Count.PID],
            "seconds": round(now - job.began, 1),
            "state": job.state,
            "id": job.id,
            "user": job.user,
            "context": job.context,
            "script": job.script,
        }
        for job in sorted(page.tally.jobs(), key=lambda job: job.began)
    ]


def _worker(page: Page, now: float) -> dict[str, Any]:
    counts = page.counts
    return {
        "pid": counts[Count.PID],
        "generation": counts[Count.GENERATION],
        "seconds": int(now - counts[Count.STARTED]),
        "running": counts[Count.RUNNING],
        "waiting": counts[Count.WAITING],
        "answers": sum(page.tally.statuses),
    }


def _sum(columns: Iterator[Any]) -> list[tuple[Any, int]]:
    """What is not zero, in order."""
    found: Counter[Any] = Counter()
    for column in columns:
        for name, number in column:
            found[name] += number
    return [(name, number) for name, number in found.items() if number]


def _users(columns: Iterator[dict[str, tuple[int, int]]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for column in columns:
        for user, (served, failed) in column.items():
            row = found.setdefault(user, {"answers": 0, "failed": 0})
            row["answers"] += served
            row["failed"] += failed
    return found


def _metric(name: str, kind: str, text: str, rows: list[tuple[dict[str, str], int]]) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *(f"{name}{_labels(one)} {value}" for one, value in rows)]


def _labels(labels: dict[str, str]) -> str:
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""
