"""`selcgi failures` and `selcgi replay`: look at the last requests that failed, and run one of them again.

Decides only how a record is shown, and that a replay is a `run` with the params of the record.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from selcgi.cli.asked import body_length, encoded, header_params
from selcgi.cli.grouped import Grouped
from selcgi.cli.options import FILE, PARAM, named_values, settings_from, site_options
from selcgi.cli.run import respond
from selcgi.cli.terminal import plain, table, tell
from selcgi.errors import IdentityNotProven, SelcgiError, StartRefused
from selcgi.serve.failures import KINDS
from selcgi.serve.recorder import Record, records

RECORDS = Path("/var/log/selcgi/failures")
_COLUMNS = ("time", "id", "status", "user", "script", "step", "reason")
_TEXTS = ("stdout", "stderr")
_LISTS = ("params", "changed", "denied", *_TEXTS)


def _known(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The ids of all records, for a shell to complete."""
    try:
        found = records(context.params.get("failures") or RECORDS)
    except SelcgiError:
        return []
    return [CompletionItem(one["id"], help=plain(f"{one['status']} {one['script']}")) for one in reversed(found)
            if str(one["id"]).startswith(begun)]  # fmt: skip


_FILE = click.option("--failures", type=FILE, default=RECORDS, show_default=True, help="As given to selcgi serve.")


@click.command()
@_FILE
@click.option("--last", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    show_default="all",
    help="missing: no such script; denied: answered, but the kernel refused the script something.",
)
@click.option("--json", "as_json", is_flag=True, help="All of each record, one a line.")
@click.argument("wanted", metavar="[ID]", required=False, shell_complete=_known)
def failures(failures: Path, last: int, kind: str | None, as_json: bool, wanted: str | None) -> None:
    """List the last failed requests, or show one.

    The newest comes last. A record holds what was asked and decided, the head of the response and the beginning of
    stderr. Cookies, credentials and headers that selcgi does not know are not in it. selcgi serve --failures makes it.

    \b
    runuser -u selcgi -- selcgi failures --last 5
    runuser -u selcgi -- selcgi failures 8bbab1bf26b1
    runuser -u selcgi -- selcgi failures --json | jq 'select(.status >= 500)'
    """
    found = [_find(failures, wanted)] if wanted else records(failures)
    chosen = [record for record in found if kind in (None, record["kind"])][-last:]
    if as_json:
        for record in chosen:
            click.echo(json.dumps(record).replace("\x7f", r"\u007f"))
    elif wanted and chosen:
        click.echo("\n".join(_lines(chosen[0])))
    else:
        click.echo(table([_row(record) for record in chosen], _COLUMNS) or f"no request is on record in {failures}")


def _row(record: Record) -> Record:
    """What is empty is not on record. Of an answered request, the first refusal is why it is here."""
    why = record.get("reason") or next(iter(record.get("denied", ())), "")
    return {**dict.fromkeys(_COLUMNS, ""), **record, "reason": why}


@click.command(cls=Grouped)
@_FILE
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="As in selcgi run, for one removed.")
@click.option("--user", help="Run it as this user, '' for nobody known, whomever the record names.")
@click.option("--body", metavar="FILE", type=click.File("rb"),
              help="File to send as the body, - for stdin: records hold none.")  # fmt: skip
@PARAM
@site_options
@click.argument("wanted", metavar="ID", shell_complete=_known)
def replay(
    failures: Path,
    headers: tuple[str, ...],
    user: str | None,
    body: IO[bytes] | None,
    given: tuple[str, ...],
    wanted: str,
    **values: Any,
) -> None:
    """Run a failed request again, as selcgi run would.

    The params are those on record, the mapping and the limits those of now. What is shown, and the exit code, are
    those of selcgi run. A user whom the web server had not proven must be named again, with --user.

    \b
    selcgi replay 8bbab1bf26b1
    selcgi replay --header 'Cookie: session=1' --body data.csv 8bbab1bf26b1
    """
    settings, record = settings_from(values), _find(failures, wanted)
    new = {**header_params(headers), **named_values(given), "CONTENT_LENGTH": body_length(body)}
    new |= _user(record, user)
    lost = [name for name in record["changed"] if name not in new]
    pairs = [(name, value) for name, value in record["params"] if name not in new]
    if body is None and any(name == "CONTENT_LENGTH" and value not in ("", "0") for name, value in record["params"]):
        lost.append("the body")
    if lost:
        tell("not as it was", ", ".join(lost))
    respond(settings, encoded((*pairs, *new.items())), body)


def _user(record: Record, wanted: str | None) -> dict[str, str]:
    """The one to run as, where it is not on record. Whoever could send a request could write any name into it."""
    if wanted is not None:
        return {"REMOTE_USER": wanted}
    claimed = next((value for name, value in record["params"] if name == "REMOTE_USER"), "")
    if claimed and (record["step"] == IdentityNotProven.step or record["user"] != claimed):
        fix = "selcgi replay --user NAME runs it as that user all the same, --user '' as nobody known"
        raise StartRefused(f"request {record['id']} named the user {claimed!a}, which nothing has proven", fix)
    return {}


def _find(path: Path, wanted: str) -> Record:
    for record in records(path):
        if record["id"] == wanted:
            return record
    raise StartRefused(f"no record {wanted!a} in {path}", "selcgi failures lists those that there are")


def _lines(record: Record) -> Iterator[str]:
    """All of it. What is empty is left out."""
    fields = [(name, value) for name, value in record.items() if name not in _LISTS and value not in ("", None)]
    for title, pairs in (("record", fields), ("params", record["params"])):
        yield click.style(f"{title}:", bold=True)
        width = max((len(name) for name, _ in pairs), default=0)
        yield from (f"  {plain(name):<{width}}  {plain(str(value))}".rstrip() for name, value in pairs)
    if record["changed"]:
        yield f"{click.style('removed or cut:', bold=True)} {plain(', '.join(record['changed']))}"
    for sentence in record.get("denied", ()):
        yield f"{click.style('denied:', fg='red', bold=True)} {plain(str(sentence))}"
    for name in _TEXTS:
        if record[name]:
            yield click.style(f"{name}, its beginning:", bold=True)
            yield from (f"  {plain(line.expandtabs())}" for line in record[name].splitlines())
