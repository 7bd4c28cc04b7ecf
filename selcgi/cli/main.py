"""The program `selcgi`: its commands, and its exit codes.

Decides nothing else. A SelcgiError that reaches this place is printed as one sentence; nothing prints a traceback.
Called by bin/selcgi.
"""

import sys

import click

from selcgi import VERSION
from selcgi.cli.audit_map import audit_map
from selcgi.cli.categories import categories
from selcgi.cli.check_front import check_front
from selcgi.cli.doctor import doctor
from selcgi.cli.explain import explain
from selcgi.cli.failures import failures, replay
from selcgi.cli.learn import REFUSED_AGAIN, learn
from selcgi.cli.mapping import mapping
from selcgi.cli.policy import policy
from selcgi.cli.request import request
from selcgi.cli.run import run
from selcgi.cli.serve import serve
from selcgi.cli.status import status
from selcgi.cli.terminal import plain
from selcgi.errors import SelcgiError

COULD_NOT_RUN = 3
EXIT_CODES = {
    0: "done",
    1: "findings, or a request that was refused or failed",
    2: "a mistake on the command line",
    COULD_NOT_RUN: "could not run; the reason and what to do are on stderr",
    REFUSED_AGAIN: "selcgi learn: proven, but for what no rule allows, or what was left out as dangerous",
}


@click.group(
    context_settings={"auto_envvar_prefix": "SELCGI", "help_option_names": ["-h", "--help"]},
    epilog=f"Exit: {'; '.join(f'{code} {text}' for code, text in EXIT_CODES.items())}.",
)
@click.version_option(VERSION, prog_name="selcgi")
def cli() -> None:
    """Run CGI scripts, each in a one-time process under its user's SELinux context.

    \b
    Try a script as a user, without a web server:
        selcgi run --user alice report.cgi
    Serve a web server:
        selcgi serve \\
            --listen unix:/run/selcgi/selcgi.sock,identity=proof:/etc/selcgi/proof
    """


cli.add_command(serve)
cli.add_command(run)
cli.add_command(mapping)
cli.add_command(doctor)
cli.add_command(explain)
cli.add_command(categories)
cli.add_command(policy)
cli.add_command(learn)
cli.add_command(status)
cli.add_command(check_front)
cli.add_command(audit_map)
cli.add_command(failures)
cli.add_command(replay)
cli.add_command(request)


def main() -> None:
    """The entry point."""
    try:
        cli()
    except SelcgiError as error:
        head = click.style("selcgi:", fg="red", bold=True)
        click.echo(f"{head} {error.__class__.__name__}: {plain(str(error))}", err=True)
        sys.exit(COULD_NOT_RUN)
