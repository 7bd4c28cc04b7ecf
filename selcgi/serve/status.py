"""What the pages of a board add up to, as values for JSON and as text for Prometheus.

Decides the names of both, which scripts of others rely on. Must not open or send anything. Used by serve/control.py.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from selcgi import VERSION
from selcgi.serve.board import Board, Count, Page
from selcgi.serve.denialpage import ROWS, Told
from selcgi.serve.log import utc
from selcgi.serve.tally import LIMITS

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})  # Prometheus text format 0.0.4


def status(board: Board, note: str) -> dict[str, Any]:
    """Everything that `selcgi status` shows. `note` says what protection is off."""
    now = time.monotonic()
    pages = [page for page in board.pages if page.counts[Count.PID]]
    tallies = [board.supervisor.retired, *(page.tally for page in board.pages)]
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
        "users": _users(one.users() for one in tallies),
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
    if found["denials"]["listener"]:
        text = "Refusals of the kernel, by what became of them."
        counts = found["denials"]["counts"].items()
        lines += _metric("selcgi_denials_total", "counter", text, [({"kind": name}, number) for name, number in counts])
    if found["reload"] is not None:
        text = "Whether the last reload took the mapping over."
        lines += _metric("selcgi_reload_good", "gauge", text, [({}, int(found["reload"]["good"]))])
    return "\n".join(lines) + "\n"


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
