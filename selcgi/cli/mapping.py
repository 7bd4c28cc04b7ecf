"""`selcgi map`: check, explain and import mapping files. Prints what mapping/ says; holds no logic of its own."""

import sys
from pathlib import Path

import click

from selcgi.cli.options import (
    FILE,
    GROUP_FILE,
    PARAM,
    PARAM_DOMAIN,
    REQUEST_BAND,
    SOURCE,
    SOURCE_FORMS,
    USER_BAND,
    named_values,
)
from selcgi.cli.terminal import plain
from selcgi.context import Band
from selcgi.errors import Denied, IdentityNotProven, MappingError, StartRefused
from selcgi.mapping import grammar
from selcgi.mapping.categories import BANDS, clashes, misgivings
from selcgi.mapping.modselinux import respell
from selcgi.mapping.owned import check_categories
from selcgi.mapping.rules import mistakes
from selcgi.mapping.table import Query, Verdict
from selcgi.serve.categories import bands_of
from selcgi.serve.lookups import known_now
from selcgi.serve.sources import asked_of, open_sources, table_of
from selcgi.settings import CategorySettings, MapSource, Settings
from selcgi.system.accounts import unusable
from selcgi.system.identity import prove_told
from selcgi.system.mapfile import read_mapfile

_FREE = f"others than {BANDS.user} and {BANDS.request}, or give it other bands"


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
    selcgi map explain /etc/selcgi/site.map --user alice
    """


@mapping.command(short_help="Print every mistake, and every rule that can never match.")
@click.argument("file", type=FILE)
@GROUP_FILE
def check(file: Path, group_files: tuple[Path, ...]) -> None:
    """Print every mistake in FILE as file:line, and every rule that can never match. Exit 1 if there is any.

    Warns of rules whose users are not kept apart: a glob or * whose context has no categories of its own, and of
    c{user} and c{request} where files would not be; of categories that c{user} or c{request} may give to somebody,
    too, with the usual bands. Warns of uid= without such an account here, and of more Unix groups than are asked for.
    """
    try:
        table = table_of((file,))
    except MappingError:
        wrong = mistakes(read_mapfile(file), str(file))
        if not wrong:
            raise
        for mistake in wrong:
            _tell("mistake", "red", mistake)
        sys.exit(1)
    dead = table.dead()
    for rule in dead:
        _tell("dead", "yellow", f"{rule.file}:{rule.line}: no request reaches this rule")
    for rule in table.shared():
        what = f"the users of {rule.who} share {rule.spec}, and nothing keeps those of one context apart"
        _tell("warning", "yellow", f"{rule.file}:{rule.line}: {what}")
    for spec, where in table.unfilled():
        for what in misgivings(spec):
            _tell("warning", "yellow", f"{file.parent / where}: {what}")
    for _, where, how in clashes(table):
        _tell("warning", "yellow", f"{file.parent / where}: {how}, and selcgi does not start: use {_FREE}")
    for where, error in unusable(table.accounts()):
        _tell("warning", "yellow", f"{file.parent / where}: {error}")
    try:
        asked_of(Settings(group_files=group_files), table.groups())
    except StartRefused as error:
        _tell("warning", "yellow", f"{file}: {error.reason}, and selcgi does not start: {error.fix}")
    click.echo(f"{table.count} rules, {len(dead)} of them dead, no mistakes")
    sys.exit(1 if dead else 0)


@mapping.command(short_help="Show which rule decides a request, and why not others.")
@click.argument("sources", metavar=f"{SOURCE_FORMS}...", type=SOURCE, nargs=-1, required=True)
@click.option("--user", default=None, show_default="nobody known", help="Who asks.")
@click.option("--script", default="", help="Absolute path of the script.")
@click.option("--host", default="", help="Name of the virtual host.")
@PARAM
@GROUP_FILE
@PARAM_DOMAIN
@USER_BAND
@REQUEST_BAND
def explain(
    sources: tuple[MapSource, ...],
    user: str | None,
    script: str,
    host: str,
    given: tuple[str, ...],
    group_files: tuple[Path, ...],
    param_domains: tuple[str, ...],
    user_categories: Band,
    request_categories: Band,
) -> None:
    """Show which rule decides a request, and why those before it do not. Exit 1 if it is refused.

    The sources are those of selcgi serve --map, in the same order. A match is refused, as a request would be, where its
    categories could be somebody else's.

    \b
    selcgi map explain site.map --user bob --script /srv/cgi/report.cgi
    selcgi map explain param:LDAP_CONTEXT site.map --user bob \\
        --param LDAP_CONTEXT=user_webapp_t:s0:c2 --param-domain user_webapp_t
    """
    bands = bands_of(CategorySettings(users=user_categories, requests=request_categories))
    chain = open_sources(Settings(maps=sources, group_files=group_files, param_domains=param_domains))
    known = known_now(chain.asked, user or None)
    query = Query(user or None, script, host, tuple(named_values(given).items()), known)
    try:
        prove_told(query.told, query.user)
        for look in chain.trace(query):
            mark = click.style("match", fg="green") if look.matched else click.style("no   ", dim=True)
            click.echo(f"{mark} {plain(f'{look.where:<20} {look.why}')}")
        verdict = chain.decide(query)
        check_categories(verdict, query.user, chain.given(bands))
        _show(verdict)
    except (Denied, IdentityNotProven) as error:
        click.echo(f"{click.style('refused', fg='red')}: {plain(str(error))}")
        sys.exit(1)


def _show(verdict: Verdict) -> None:
    words = [str(verdict.spec), *(f"{name}={value:g}" for name, value in verdict.overrides)]
    for name, text in (("sendfile", verdict.sendfile and "yes"), ("uid", verdict.account), ("warm", verdict.warm)):
        words += [f"{name}={text}"] if text else []
    click.echo(f"{click.style('context', fg='green')}: {plain(' '.join(words))}")


@mapping.command("import", short_help="Respell a map file of mod_selinux.")
@click.argument("file", type=FILE)
def import_(file: Path) -> None:
    """Respell a map file of mod_selinux: the new file on stdout, what was done to each line on stderr.

    \b
    selcgi map import /etc/httpd/conf.d/mod_selinux.map > site.map
    """
    try:
        for line, note in respell(read_mapfile(file), str(file)):
            click.echo(line)
            if note:
                _tell("note", "yellow", note, err=True)
    except MappingError as error:
        _tell("mistake", "red", error, err=True)
        sys.exit(1)


def _tell(what: str, colour: str, text: object, *, err: bool = False) -> None:
    click.echo(f"{click.style(what, fg=colour)} {plain(str(text))}", err=err)
