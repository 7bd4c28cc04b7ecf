"""`selcgi learn`: what an application lacks in its domain, as CIL, proven by a second run. Holds no logic."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from selcgi.cli.doctor import settings_of
from selcgi.cli.options import FILE, GROUP_FILE, PARAM, PARAM_DOMAIN, map_option, named_values, root_option, script_path
from selcgi.cli.terminal import plain
from selcgi.errors import StartRefused
from selcgi.learn.lesson import Lesson
from selcgi.learn.rehearsal import Application, rehearse
from selcgi.mapping.table import Query
from selcgi.policy.learned import Rule, block
from selcgi.policy.switches import BY_BOOLEAN, switch
from selcgi.policy.twin import Domain
from selcgi.serve.lookups import known_now
from selcgi.serve.sources import open_sources
from selcgi.settings import Settings
from selcgi.system.identity import prove_told
from selcgi.system.policy import open_policy
from selcgi.system.twins import read_domain

REFUSED_AGAIN = 4


@click.command(short_help="Find out what a script lacks in its domain, and prove it.")
@click.option("--user", default="", show_default="nobody known", help="As whom the application runs.")
@click.option("--host", default="", help="Name of the virtual host; the application gets it, too.")
@PARAM
@click.option("--script-user", default="", metavar="USER", help="Unix user of scripts, as given to selcgi serve.")
@click.option("--body", type=FILE, default=None, help="A file that each request brings along.")
@click.option("--dangerous", is_flag=True, help="Include what undoes the confinement, or leads out of it.")
@map_option
@GROUP_FILE
@PARAM_DOMAIN
@root_option
@click.argument("script")
@click.argument("requests", metavar="[/PATH_INFO][?QUERY]..", nargs=-1)
def learn(
    user: str,
    host: str,
    given: tuple[str, ...],
    script_user: str,
    body: Path | None,
    dangerous: bool,
    script: str,
    requests: tuple[str, ...],
    **values: Any,
) -> None:
    """Find out what SCRIPT lacks in the domain that the mapping gives USER, and prove it.

    The requests run in a twin of the domain, a new type with the same rights, which alone is permissive: what it was
    not allowed becomes the smallest block of CIL, on stdout. The same requests then run in a second twin, enforcing,
    with that block. The domain itself is not touched, and the twins are removed at the end. What is dangerous to allow
    is shown as a comment. Takes root, in your own domain, and some seconds for each load of the policy. Scripts
    never run as root: --script-user says as whom, unless the rule has uid=.

    Exit: 0 with this block nothing was refused, 1 something still is missing, or it is not proven, 2 usage, 3 could
    not run, 4 the block is complete, but the second run was refused what no rule allows, or what was left out as
    dangerous.

    \b
    /opt/selcgi/bin/python -m selcgi learn --user alice --script-user selcgi \\
        report.cgi '?sort=name' /2026 > shop_more.cil
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = settings_of(**values)
    whole = script_path(settings, script)
    chain = open_sources(settings)
    told = tuple(sorted(named_values(given).items()))
    prove_told(told, user or None)
    verdict = chain.decide(Query(user or None, whole, host, told, known_now(chain.asked, user or None)))
    app = Application(
        program=_program(),
        words=tuple(_words(settings, {"user": user, "script-user": script_user, "body": body}, host)),
        requests=tuple(f"{whole}{one}" for one in requests or ("",)),
        spec=verdict.spec,
        options=f"uid={verdict.account}" if verdict.account else "",
    )
    domain = read_domain(verdict.spec.domain)
    lesson = rehearse(app, domain, open_policy(), dangerous)
    _show(lesson, domain, dangerous)
    sys.exit(0 if lesson.nothing_refused else REFUSED_AGAIN if lesson.proven else 1)


def _words(settings: Settings, given: Mapping[str, object], host: str) -> Iterator[str]:
    """Of `selcgi run`; options that are empty are left out."""
    yield from (f"--root={root}" for root in settings.roots)
    yield from (f"--{name}={value}" for name, value in given.items() if value)
    yield from ([f"--header=Host: {host}"] if host else [])


def _program() -> str:
    """The one that enters selcgi_t by its label: beside this Python, or where packages put it."""
    places = (Path(sys.executable).parent / "selcgi", Path("/usr/bin/selcgi"), Path("/usr/sbin/selcgi"))
    found = [str(path) for path in places if os.access(path, os.X_OK)]
    if found:
        return found[0]
    if there := [path for path in places if path.exists()]:  # in selcgi_t, which may not start itself
        fix = f"as root, in your own domain: {there[0].with_name('python')} -m selcgi learn .."
        raise StartRefused(f"{there[0]} may not be started from here", fix)
    raise StartRefused("there is no program selcgi beside this Python or in /usr", "install selcgi first")


def _show(lesson: Lesson, domain: Domain, dangerous: bool) -> None:
    click.echo(block(domain.name, lesson.rules, dangerous), nl=False)
    for text in lesson.explained:
        if text not in lesson.refused.unallowed:
            click.echo(f"no rule helps: {plain(text)}", err=True)
    ways = Counter(_switch(domain, rule) for rule in lesson.rules if not rule.danger)
    for way, number in ways.items():
        if way:
            click.echo(f"instead of {number} of these rules: {way}", err=True)
    for one, other in zip_longest(lesson.before, lesson.after, fillvalue="(not run)"):
        click.echo(f"permissive: {plain(one)}   enforcing: {plain(other)}", err=True)
    for text in lesson.failing:
        click.echo(f"{click.style('fails:', fg='red')} {plain(text)}", err=True)
    for text in lesson.missing:
        click.echo(f"{click.style('missing:', fg='red')} {plain(text)}", err=True)
    if lesson.lost:
        click.echo("the kernel had more to say than could be read: run it once more, with fewer requests", err=True)
    if lesson.refused.withheld:
        number = len(lesson.refused.withheld)
        click.echo(f"left out as dangerous: {number} (see the comments; --dangerous includes them)", err=True)
    click.echo(click.style(lesson.verdict, bold=True), err=True)
    for text in (*lesson.refused.unallowed, *lesson.refused.withheld):
        click.echo(f"  {plain(text)}", err=True)


def _switch(domain: Domain, rule: Rule) -> str:
    return switch(domain.name, rule.target, rule.classname, rule.permissions, BY_BOOLEAN in domain.attributes)
