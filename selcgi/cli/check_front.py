"""`selcgi check-front`: the findings of diagnose/front.py as a table or JSON. Holds no logic."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from selcgi.cli.options import FILE
from selcgi.cli.terminal import plain
from selcgi.diagnose.control import CONTROL
from selcgi.diagnose.finding import Finding
from selcgi.diagnose.front import check
from selcgi.diagnose.probing import Account, Front
from selcgi.diagnose.webclient import Target, parse_url

_COULD_NOT_RUN = 3
_COLOURS = {"good": "green", "note": "yellow", "forged": "red", "unknown": "yellow"}


def _account(_: click.Context, __: click.Parameter, value: str) -> Account | None:
    """A password that is not given is asked for: on the command line others may see it."""
    if not value:
        return None
    user, colon, password = value.partition(":")
    if not user:
        raise click.BadParameter("there is no user before the colon")
    return Account(user, password if colon else click.prompt("Password", hide_input=True, err=True))


@click.command("check-front", short_help="Ask a web server whether a name can be forged through it.")
@click.option("--auth", callback=_account, default="", show_default="no account", metavar="USER[:PASSWORD]",
              help="An account of the web server. Without :PASSWORD it is asked for.")  # fmt: skip
@click.option("--control", type=FILE, default=CONTROL, show_default=True, help="As given to selcgi serve.")
@click.option("--insecure", is_flag=True, help="Take any certificate for https.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("url")
def check_front(auth: Account | None, control: Path, insecure: bool, as_json: bool, url: str) -> None:
    """Ask the web server at URL, as it is configured, whether somebody else's name can be forged through it.

    And what else gets through: the password, a lost client, a long response head, an upload without a length. URL is
    that of a script, which is not run: the selcgi behind it answers with what arrived. It does so only for this
    command, which needs its control socket; nothing is changed. It takes some forty requests, a few with
    wrong passwords. Ask once for each place of the web server.

    Exit: 0 no name can be forged, 1 one can, 2 usage, 3 could not run.

    \b
    A place for everybody:
        selcgi check-front http://localhost/open/report.cgi
    A place with a password:
        selcgi check-front --auth alice http://localhost/cgi-bin/report.cgi
    As selcgi's own user:
        runuser -u selcgi -- selcgi check-front ...
    With SELinux, from root:
        /opt/selcgi/bin/python -m selcgi check-front ...
    """
    front = Front(_target(url, not insecure), control, auth)
    found: list[Finding] = []
    for finding in check(front):
        if not found and not as_json:
            click.echo(click.style(plain(front.software or "a web server without SERVER_SOFTWARE"), bold=True))
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(json.dumps({"server": front.software, "findings": [asdict(one) for one in found]}, indent=1))
    sys.exit(_exit_code(found))


def _exit_code(found: list[Finding]) -> int:
    if any(one.verdict == "forged" for one in found):
        return 1
    return _COULD_NOT_RUN if any(one.undecided for one in found) else 0


def _target(url: str, verified: bool) -> Target:
    try:
        return parse_url(url, verified)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error


def _show(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict:<8}", fg=_COLOURS[finding.verdict], bold=finding.verdict == "forged")
    click.echo(f"{verdict}{finding.question:<30}{plain(finding.answer)}")
    if finding.add:
        click.echo(f"{'':<8}{'add':<30}{plain(finding.add)}")
