"""`selcgi explain`: one user and one script, and every permission on the way. Holds no logic."""

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import click

from selcgi.cli.doctor import settings_of, subject_of, zygote_program
from selcgi.cli.options import (
    GROUP_FILE,
    PARAM,
    PARAM_DOMAIN,
    REQUEST_BAND,
    USER_BAND,
    map_option,
    named_values,
    root_option,
    script_path,
)
from selcgi.cli.terminal import plain
from selcgi.cli.warm import WARM_GLOB
from selcgi.diagnose.explaining import Answer, Machine, Told, explain_request
from selcgi.diagnose.staging import kernel_faults, stage, why_by_kernel
from selcgi.errors import LaunchFailed, StartRefused
from selcgi.mapping.table import Query
from selcgi.plan import Account
from selcgi.serve.lookups import known_now
from selcgi.serve.sources import open_sources
from selcgi.settings import WarmSettings
from selcgi.system.accounts import account, own_account
from selcgi.system.labelling import open_labelling
from selcgi.system.policy import open_policy

_SERVICE_USER = "selcgi"  # User= of contrib/systemd/selcgi.service


@click.command(short_help="Say what would become of a user's request, and why.")
@click.option("--user", default=None, show_default="nobody known", help="Who asks.")
@click.option("--host", default="", help="Name of the virtual host.")
@PARAM
@map_option
@GROUP_FILE
@PARAM_DOMAIN
@USER_BAND
@REQUEST_BAND
@root_option
@WARM_GLOB
@click.option(
    "--service-user",
    metavar="USER",
    default=None,
    show_default="selcgi, if root asks",
    help="As whom the service runs, for owners and modes.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("script")
def explain(
    user: str | None,
    host: str,
    given: tuple[str, ...],
    warm: tuple[str, ...],
    service_user: str | None,
    as_json: bool,
    script: str,
    **values: Any,
) -> None:
    """Say what would happen if USER asked for SCRIPT: rule, context, and every permission on the way.

    Nothing is run. A relative SCRIPT lies beneath the first --root; it is found, opened and judged as for a request.
    Each permission has a yes or a no; beneath a no stands what it looks like, and what to do. Run it as root, who asks
    for the service's user; selcgi's own Python may read the whole policy.

    Exit: 0 every answer is yes, 1 one is no, 2 usage, 3 could not run.

    \b
    selcgi explain --user alice report.cgi
    /opt/selcgi/bin/python -m selcgi explain --user alice /srv/cgi/report.cgi
    """
    settings = settings_of(**values)
    facts, faults = kernel_faults()
    if facts is None:
        raise StartRefused(faults[0].what, faults[0].fix)
    chain = open_sources(settings)
    said, known = tuple(sorted(named_values(given).items())), known_now(chain.asked, user or None)
    query = Query(user or None, script_path(settings, script), host, said, known)
    with ExitStack() as held:
        subject = replace(subject_of(replace(settings, roots=()), chain), specs=(), clashes=(), accounts=())
        policy = open_policy()
        scene = stage(policy, open_labelling(), subject, why_by_kernel(held, policy, facts.label))
        machine = Machine(
            open_labelling(),
            settings.roots,
            settings.environ.path,
            WarmSettings(scripts=warm),
            zygote_program(),
            _service(service_user),
        )
        told = explain_request(scene, chain, query, machine)
    click.echo(json.dumps({"yes": told.yes, **asdict(told)}, indent=1)) if as_json else _show(told)
    sys.exit(0 if told.yes else 1)


def _service(name: str | None) -> Account:
    """The account for which owners and modes are judged: of that name, or LaunchFailed; without one, root asks for the
    unit's, where there is such a user, and everybody else for himself."""
    if name is not None:
        return account(name)
    try:
        return account(_SERVICE_USER) if os.geteuid() == 0 else own_account()
    except LaunchFailed:
        return own_account()


def _show(told: Told) -> None:
    for name in ("rule", "context", "script", "label", "interpreter", "warm", "zygote", "service", "refused"):
        if value := getattr(told, name):
            click.echo(f"{click.style(name, bold=True):<12} {plain(value)}")
    for answer in told.answers:
        _show_answer(answer)


def _show_answer(answer: Answer) -> None:
    mark = click.style("yes", fg="green") if answer.yes else click.style("no ", fg="red", bold=True)
    click.echo(f"{mark}  {plain(answer.purpose):<52} {plain(answer.question)}")
    for name, text in (("symptom", answer.why), ("do", answer.fix)):
        if text:
            click.echo(f"     {name:<9}{plain(text)}")
