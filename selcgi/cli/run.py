"""`selcgi run`: one request from the command line, on the very path of a web server's.

Decides how the request is written down as FastCGI params, and how the outcome is shown: the response on stdout, what
was decided on stderr. Must not decide anything about the request itself.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable
from typing import IO, Any, NoReturn

import click

from selcgi.cli.grouped import Grouped
from selcgi.cli.options import PARAM, named_values, settings_from, site_options
from selcgi.cli.terminal import plain, sink
from selcgi.serve.accesslog import Entry
from selcgi.serve.once import Sinks, run_once
from selcgi.settings import Settings

_IS_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 section 5.6.2
_IS_VALUE = re.compile(r"[^\0-\x08\x0a-\x1f\x7f]*").fullmatch  # section 5.5
_SHOWN = (
    "user", "rule", "context", "script", "launch", "status", "redirect", "exit", "seconds", "killed_by", "selinux",
    "step",
)  # fmt: skip


@click.command(cls=Grouped)
@click.option("--user", default="", show_default="nobody known", help="The user that a web server would have proven.")
@click.option("--method", default="", show_default="GET, with --body POST", help="Of the request.")
@click.option("--query", default="", help="Query string; or write it after a ? in SCRIPT.")
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="Request header. Repeatable.")
@click.option("--body", metavar="FILE", type=click.File("rb"), help="File to send as the body, - for stdin.")
@PARAM
@site_options
@click.argument("script", metavar="SCRIPT[/PATH_INFO][?QUERY]")
def run(
    user: str,
    method: str,
    query: str,
    headers: tuple[str, ...],
    body: IO[bytes] | None,
    given: tuple[str, ...],
    script: str,
    **values: Any,
) -> None:
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
    path, _, tail = script.partition("?")
    params = {
        "REQUEST_METHOD": method or ("POST" if body is not None else "GET"),
        "QUERY_STRING": query or tail,
        "REMOTE_USER": user,
        **_script_params(settings, path),
        **header_params(headers),
        **named_values(given),
    }
    params["CONTENT_LENGTH"] = body_length(body)
    respond(settings, ((os.fsencode(name), os.fsencode(value)) for name, value in params.items()), body)


def respond(settings: Settings, pairs: Iterable[tuple[bytes, bytes]], body: IO[bytes] | None) -> NoReturn:
    """Serve one request, show its answer and what was decided, and end with the exit code that says how it went."""
    entries, whole = run_once(settings, tuple(pairs), body, Sinks(sink(sys.stdout), sink(sys.stderr)))
    for entry in entries:
        _show(entry)
    sys.exit(0 if whole and 0 < entries[-1].status < 400 else 1)


def body_length(body: IO[bytes] | None) -> str:
    """Of a file; that of a pipe is not known beforehand."""
    if body is None:
        return "0"
    what = os.fstat(body.fileno())
    return str(what.st_size) if stat.S_ISREG(what.st_mode) else ""


def _script_params(settings: Settings, path: str) -> dict[str, str]:
    root = settings.roots[0]
    whole = path if path.startswith("/") else f"{root}/{path}"
    base = next((one for one in settings.roots if whole.startswith(f"{one}/")), root)
    url = whole.removeprefix(str(base))
    return {
        "SCRIPT_FILENAME": whole,
        "SCRIPT_NAME": url,
        "DOCUMENT_ROOT": str(base),
        "REQUEST_URI": url,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "AUTH_TYPE": "",
    }


def header_params(headers: tuple[str, ...]) -> dict[str, str]:
    params = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not _IS_TOKEN(name) or not _IS_VALUE(value):
            raise click.BadParameter(f"{header!a} is not 'NAME: VALUE'", param_hint="--header")
        key = name.upper().replace("-", "_")
        params[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value.strip()
    return params


def _show(entry: Entry) -> None:
    """What was decided, a line each; colour only on a terminal."""
    for name in _SHOWN:
        value = getattr(entry, name)
        if value not in ("", 0, None):
            text = f"{value:.3f}" if isinstance(value, float) else str(value)
            click.echo(f"{click.style(name + ':', bold=True):<10} {plain(text)}", err=True)
    for sentence in entry.denied:
        click.echo(f"{click.style('denied:', fg='red', bold=True)} {plain(sentence)}", err=True)
    if entry.reason:
        click.echo(f"{click.style('reason:', fg='red', bold=True)} {plain(entry.reason)}", err=True)
    if entry.fix:
        click.echo(f"{click.style('fix:', fg='green', bold=True)} {plain(entry.fix)}", err=True)
