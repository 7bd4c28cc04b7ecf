"""`selcgi run`: one request from the command line, on the very path of a web server's.

Decides how the outcome is shown: the response on stdout, what was decided on stderr. Must not decide anything about the
request itself.
"""

import sys
from typing import IO, Any, NoReturn

import click

from selcgi.cli.asked import encoded, params_of, request_options
from selcgi.cli.grouped import Grouped
from selcgi.cli.options import settings_from, site_options
from selcgi.cli.terminal import sink, tell
from selcgi.serve.accesslog import Entry
from selcgi.serve.client import Pairs
from selcgi.serve.once import Sinks, run_once
from selcgi.settings import Settings

_SHOWN = (
    "user", "rule", "context", "script", "launch", "status", "redirect", "exit", "seconds", "killed_by", "selinux",
    "step",
)  # fmt: skip


@click.command(cls=Grouped)
@request_options
@site_options
def run(**values: Any) -> None:
    """Run SCRIPT as USER, just as a web server's request would.

    A relative SCRIPT lies beneath the first --root. The response goes to stdout, what was decided to stderr. Exit: 0
    answered, 1 refused or failed.

    \b
    As a user:
        selcgi run --user alice report.cgi/2026?sort=name
    With a file as the body:
        selcgi run --user alice --body data.csv upload.cgi
    Without SELinux:
        selcgi run --selinux off --map my.map --root . --user alice report.cgi
    """
    settings = settings_from(values)
    respond(settings, encoded(params_of(settings.roots, values).items()), values["body"])


def respond(settings: Settings, pairs: Pairs, body: IO[bytes] | None) -> NoReturn:
    """Serve one request, show its answer and what was decided, and end with the exit code that says how it went."""
    entries, whole = run_once(settings, pairs, body, Sinks(sink(sys.stdout), sink(sys.stderr)))
    for entry in entries:
        _show(entry)
    sys.exit(0 if whole and 0 < entries[-1].status < 400 else 1)


def _show(entry: Entry) -> None:
    """What was decided, a line each."""
    for name in _SHOWN:
        value = getattr(entry, name)
        if value not in ("", 0, None):
            tell(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    for sentence in entry.denied:
        tell("denied", sentence, "red")
    if entry.reason:
        tell("reason", entry.reason, "red")
    if entry.fix:
        tell("fix", entry.fix, "green")
