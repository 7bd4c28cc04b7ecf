"""The demo's table, its proofs, and the verdict: is every cell as the mapping says?"""

import re

from tests.demo import ALL_ALLOWED
from tests.demo.requests import ASKING, CELLS, PROBES, Row
from tests.enforcing import site

# what the policy and the mapping promise to somebody who has a rule
PROMISED = {"own": "yes", "other": "no", "public": "yes", "write": "yes", "connect": "no", "signal": "no"}
_HEADS = ("who", "script", "rule", "context the script saw", "status", *CELLS)


def show(rows: list[Row], colour: bool) -> None:
    """A line a request; a refused cell names the denial under the table that proves who said no."""
    proofs: list[str] = []
    lines = [[*_facts(row), *(_cell(row, cell, proofs) for cell in CELLS)] for row in rows]
    widths = [max(len(line[column]) for line in [list(_HEADS), *lines]) for column in range(len(_HEADS))]
    print("  ".join(head.ljust(width) for head, width in zip(_HEADS, widths, strict=True)).rstrip())
    for line in lines:
        print("  ".join(_paint(text.ljust(width), colour) for text, width in zip(line, widths, strict=True)).rstrip())
    print("\nThe kernel's own records of what it refused:")
    for number, proof in enumerate(proofs, 1):
        print(f"[{number}] {proof}")


def _facts(row: Row) -> list[str]:
    return [row.user or "(nobody)", row.probe, row.rule, row.context, str(row.status)]


def _cell(row: Row, cell: str, proofs: list[str]) -> str:
    if cell in row.cited:
        proofs.append(re.sub(r".*?(avc: )", r"\1", row.cited[cell].line))
        return f"no [{len(proofs)}]"
    return row.seen.get(cell, "-")


def _paint(text: str, colour: bool) -> str:
    if not colour or not text.startswith(("yes", "no ")):
        return text
    return f"\033[{32 if text.startswith('yes') else 31}m{text}\033[0m"


def judge(rows: list[Row]) -> list[str]:
    """What is not as promised, a sentence each."""
    return [f"WRONG: {row.user or '(nobody)'} {row.probe}: {what}" for row in rows for what in _mistakes(row)]


def _mistakes(row: Row) -> list[str]:
    strange = [f"a denial that no cell explains: {avc}" for avc in row.strange]
    if row.user not in site.CONTEXTS:
        started = [f"a process was started, status {row.status}"] if row.started or row.status != 403 else []
        return strange + started + [f"{cell} was tried" for cell in row.seen]
    wrong = [
        f"{cell} is {row.seen.get(cell)!r}, not {want!r}"
        for cell, want in PROMISED.items()
        if row.seen.get(cell) != want
    ]
    if row.status != 200 or row.context != site.context_of(row.user):
        wrong.append(f"status {row.status} in context {row.context}, not 200 in {site.context_of(row.user)}")
    uncited = [cell for cell in CELLS if row.seen.get(cell) == "no" and cell not in row.cited]
    return strange + wrong + [f"{cell} was refused, and no record of the kernel says why" for cell in uncited]


def verdict(rows: list[Row], wrong: list[str]) -> str:
    """The last line: all well, all allowed (which is what permissive domains must give), or neither."""
    if not wrong:
        return "verdict: every cell is as the mapping says"
    asked = [(row.user, row.probe) for row in rows]
    complete = asked == [(user, probe) for user in ASKING for probe in PROBES]
    return ALL_ALLOWED if complete and all(map(_allowed, rows)) else "verdict: WRONG"


def _allowed(row: Row) -> bool:
    """Everything that was tried; who has no rule is refused in any case."""
    if row.user not in site.CONTEXTS:
        return row.status == 403
    right = row.status == 200 and row.context == site.context_of(row.user)
    return right and [row.seen.get(cell) for cell in CELLS] == ["yes"] * len(CELLS)
