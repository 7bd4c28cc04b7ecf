"""`selcgi map`: check, explain and import mapping files. Prints what mapping/ says; holds no logic of its own."""

import sys
from pathlib import Path

import click

from selcgi.cli.options import FILE
from selcgi.errors import Denied, MappingError
from selcgi.mapping import grammar
from selcgi.mapping.modselinux import respell
from selcgi.mapping.rules import mistakes, parse, shared, unreachable
from selcgi.mapping.table import Query, Table, Verdict
from selcgi.system.mapfile import read_mapfile


class _WithGrammar(click.Group):
    """Its help ends with the grammar."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Mapping file"):
            formatter.write_text(grammar.INTRO)
        for part in grammar.SECTIONS:
            with formatter.section(part.title):
                if part.lead:
                    formatter.write_text(part.lead)
                formatter.write_dl(part.rows)


@click.group("map", cls=_WithGrammar)
def mapping() -> None:
    """Check, explain and import mapping files.

    \b
    selcgi map check /etc/selcgi/site.map
    selcgi map explain /etc/selcgi/site.map --user alice --script /srv/cgi/report.cgi
    """


@mapping.command()
@click.argument("file", type=FILE)
def check(file: Path) -> None:
    """Print every mistake in FILE as file:line, and every rule that can never match. Exit 1 if there is any.

    Warns of rules whose users are not kept apart: a glob or * whose context has no categories of its own.
    """
    text = read_mapfile(file)
    wrong = mistakes(text, str(file))
    for mistake in wrong:
        click.echo(f"{click.style('mistake', fg='red')} {mistake}")
    if wrong:
        sys.exit(1)
    rules = parse(text, str(file))
    Table(rules)
    dead = unreachable(rules)
    for rule in dead:
        click.echo(f"{click.style('dead', fg='yellow')} {rule.file}:{rule.line}: no request reaches this rule")
    for rule in shared(rules):
        what = f"the users of {rule.who} share {rule.spec}, and nothing keeps those of one context apart"
        click.echo(f"{click.style('warning', fg='yellow')} {rule.file}:{rule.line}: {what}")
    click.echo(f"{len(rules)} rules, {len(dead)} of them dead, no mistakes")
    sys.exit(1 if dead else 0)


@mapping.command()
@click.argument("file", type=FILE)
@click.option("--user", default=None, show_default="nobody known", help="Who asks.")
@click.option("--script", default="", help="Absolute path of the script.")
@click.option("--host", default="", help="Name of the virtual host.")
def explain(file: Path, user: str | None, script: str, host: str) -> None:
    """Show which rule of FILE decides a request, and why those before it do not. Exit 1 if it is refused."""
    query = Query(user or None, script, host)
    table = Table(parse(read_mapfile(file), str(file)))
    for step in table.trace(query):
        mark = click.style("match", fg="green") if step.matched else click.style("no   ", dim=True)
        click.echo(f"{mark} {step.rule.where:<20} {step.why}")
    try:
        _show(table.decide(query))
    except Denied as error:
        click.echo(f"{click.style('refused', fg='red')}: {error}")
        sys.exit(1)


def _show(verdict: Verdict) -> None:
    options = " ".join(f"{name}={value:g}" for name, value in verdict.overrides)
    extra = " sendfile=yes" if verdict.sendfile else ""
    account = f" uid={verdict.account}" if verdict.account else ""
    click.echo(f"{click.style('context', fg='green')}: {verdict.spec} {options}{extra}{account}".rstrip())


@mapping.command("import")
@click.argument("file", type=FILE)
def import_(file: Path) -> None:
    """Respell a map file of mod_selinux: the new file on stdout, what was done to each line on stderr."""
    try:
        for line, note in respell(read_mapfile(file), str(file)):
            click.echo(line)
            if note:
                click.echo(f"{click.style('note', fg='yellow')} {note}", err=True)
    except MappingError as error:
        click.echo(f"{click.style('mistake', fg='red')} {error}", err=True)
        sys.exit(1)
