"""`selcgi status`: what a running selcgi does now, as a table or JSON. Holds no logic but the columns."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from selcgi.cli.options import FILE
from selcgi.cli.terminal import plain, table
from selcgi.diagnose.control import CONTROL, ask

_TOLD = {
    "joined": "of requests, in their lines of the log",
    "late": "that came after such a line",
    "stray": "of selcgi itself",
    "skipped": "more that were only counted",
}
_ZYGOTE = (
    "script",
    "application",
    "domain",
    "account",
    "worker",
    "pid",
    "state",
    "seconds",
    "requests",
    "memory",
    "why",
)
_WARM = {
    "warm_requests": "requests",
    "zygote_starts": "starts",
    "zygote_failures": "failures",
    "warm_retries": "retries",
    "warm_fallbacks": "fresh programs instead",
}
_MIB = 1 << 20
_CLEAR = "\033[H\033[2J"


@click.command(short_help="Show workers, requests, warm interpreters, limits hit.")
@click.option("--control", type=FILE, default=CONTROL, show_default=True, help="As given to selcgi serve.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@click.option("--metrics", is_flag=True, help="Numbers, as Prometheus reads them.")
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
def status(control: Path, as_json: bool, metrics: bool, watch: bool) -> None:
    """Show workers, requests in progress, warm interpreters, totals, limits hit, the last reload.

    Of a warm interpreter: what it runs, its seconds since its start (ended: its end), its requests, and the memory that
    is its own alone; ? for that of another Unix user's. Of those that have ended, the last 8 of a worker stand there.

    \b
    runuser -u selcgi -- selcgi status --watch
    runuser -u selcgi -- selcgi status --json | jq .requests
    """
    while True:
        if metrics or as_json:
            text = ask(control, "/metrics" if metrics else "/status").rstrip()
        else:
            text = show(json.loads(ask(control, "/status")))
        click.echo(f"{_CLEAR if watch and sys.stdout.isatty() else ''}{text}")
        if not watch:
            return
        time.sleep(2)


def show(found: dict[str, Any]) -> str:
    """The tables, a blank line between them."""
    head = f"selcgi {found['version']}, selinux {found['selinux'].removeprefix('selinux=')}: "
    head += f"{found['running']} running, {found['waiting']} waiting"
    parts = [
        click.style(head, bold=True),
        table(found["workers"], ("pid", "generation", "seconds", "running", "waiting", "answers")),
        table(
            [{**row, "user": _name(row["user"])} for row in found["requests"]],
            ("seconds", "state", "user", "context", "script", "worker", "id"),
        ),
        _zygotes(found["zygotes"]),
        _line("warm", {text: found["warm"][name] for name, text in _WARM.items() if found["warm"][name]}),
        _line("answers", found["answers"]),
        _line("limits hit", found["limits"]),
        _users(found),
        _denials(found["denials"], off=found["selinux"] == "selinux=off"),
        _reload(found["reload"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _users(found: dict[str, Any]) -> str:
    """With those who had no row of their own, where there are any."""
    rows = [{"user": _name(user) or "(nobody)", **row} for user, row in found["users"].items()]
    if others := found.get("others"):
        rows.append({"user": "(others)", **others})
    return table(rows, ("user", "answers", "failed"))


def _name(user: str) -> str:
    """In quotes where it looks like a word of ours."""
    return json.dumps(user) if user.startswith(("-", "(", '"')) else user


def _line(title: str, numbers: dict[str, int]) -> str:
    return f"{title}: {', '.join(f'{name} x {number}' for name, number in numbers.items())}" if numbers else ""


def _zygotes(rows: list[dict[str, Any]]) -> str:
    """Columns that are empty in all rows are left out."""
    shown = [{**row, "seconds": f"{row['seconds']:.0f}", "memory": _memory(row)} for row in rows]
    return table(shown, tuple(name for name in _ZYGOTE if any(row[name] for row in shown)))


def _memory(row: dict[str, Any]) -> str:
    if row["state"] == "ended":
        return ""
    return "?" if row["memory"] is None else f"{row['memory'] / _MIB:.1f}M"


def _denials(found: dict[str, Any], *, off: bool) -> str:
    """How many refusals of the kernel there were, and the last ones, a line each."""
    if off:
        return ""
    if not found["listener"]:
        return "no denial listener: what the kernel refuses is in its audit alone (systemctl enable selcgi-avc.socket)"
    counts = found["counts"]
    told = ", ".join(f"{counts[name]} {text}" for name, text in _TOLD.items() if counts[name])
    lines = [f"refused by the kernel: {told or 'nothing yet'}"]
    for row in found["last"]:
        where = " ".join(filter(None, (row["time"], row["id"])))
        lines.append(f"  {where}  {plain(row['text'])}")
    return "\n".join(lines)


def _reload(last: dict[str, Any] | None) -> str:
    if last is None:
        return ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last["time"]))
    what = (
        click.style("taken over", fg="green")
        if last["good"]
        else click.style(f"refused: {plain(last['error'])}", fg="red")
    )
    return f"last reload: {when}, {what}"
