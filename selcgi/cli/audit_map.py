"""`selcgi audit-map`: the report of diagnose/isolation.py as a table or JSON. Holds no logic."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from selcgi.cli.options import FILE, PARAM_DOMAIN, REQUEST_BAND, SOURCE, SOURCE_FORMS, USER_BAND
from selcgi.cli.terminal import plain
from selcgi.context import LAUNCHER, Band
from selcgi.diagnose.isolation import SINGLE_MOST, Finding, Report, audit
from selcgi.diagnose.mapped import mapped
from selcgi.diagnose.meant import Column
from selcgi.mapping.categories import REQUEST, USER
from selcgi.serve.categories import bands_of
from selcgi.serve.sources import open_sources
from selcgi.settings import CategorySettings, MapSource, Settings
from selcgi.system.policyfile import KERNEL, open_policy_file

_QUIET_SECONDS = 2.0
_ROWS = 40
_SHOWN = 60  # findings
_AROUND = (Column.SELCGI, Column.SERVERS, Column.POLICY, Column.ITSELF)


@click.command("audit-map", short_help="Prove that the contexts of a mapping cannot reach one another.")
@click.argument("sources", metavar=f"{SOURCE_FORMS}...", type=SOURCE, nargs=-1, required=True)
@click.option(
    "--policy", type=FILE, default=KERNEL, show_default="the kernel's", help="Binary policy, as /etc/selinux has it."
)
@PARAM_DOMAIN
@USER_BAND
@REQUEST_BAND
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def audit_map(
    sources: tuple[MapSource, ...],
    policy: Path,
    param_domains: tuple[str, ...],
    user_categories: Band,
    request_categories: Band,
    as_json: bool,
) -> None:
    """Prove that the contexts of a mapping cannot reach one another, selcgi, its web server or the policy.

    Asks a whole policy, constraints included: what each context may do to every other and to the files that it
    writes, to selcgi, its warm interpreters and its files (selcgi), to web servers and unconfined domains (servers),
    to the policy and its files (policy), and to the kernel (itself); directly, by paths of domain transitions, and by
    programs that others would run. And the same of the warm interpreter of each context, where the policy has one.
    What the shipped policy means to allow is listed in selcgi/diagnose/meant.py with its reasons; all else is a
    finding. Booleans count as the policy has them. It needs no SELinux on this machine, but the distribution's
    python3-setools and python3-selinux.

    Exit: 0 no finding, 1 findings, 2 usage, 3 could not run.

    \b
    On the machine itself, as root:  selcgi audit-map /etc/selcgi/site.map
    In a check of a change:          selcgi audit-map site.map --policy policy.33
    """
    bands = bands_of(CategorySettings(users=user_categories, requests=request_categories))
    contexts = mapped(open_sources(Settings(maps=sources, param_domains=param_domains)), bands)
    with open_policy_file(policy) as opened:
        report = audit(opened, contexts, _Progress())
    if as_json:
        click.echo(json.dumps(_as_json(policy, report), indent=1))
    else:
        _show(report)
    sys.exit(1 if report.findings else 0)


class _Progress:
    """Said on a terminal, once it takes longer than somebody waits in silence."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._began > _QUIET_SECONDS:
            click.echo(f"\rasked about {done} of {total} contexts\033[K", err=True, nl=done + 1 == total)


def _show(report: Report) -> None:
    if report.contexts:
        _matrix(report)
    for finding, count in report.findings[:_SHOWN]:
        _explain(finding, count, {str(one.context): one.where for one in (*report.contexts, *report.zygotes)})
    if len(report.findings) > _SHOWN:
        click.echo(f"and {len(report.findings) - _SHOWN} more findings: --json has all\n")
    contexts, findings = len(report.contexts), len(report.findings)
    colour = "red" if findings else "green"
    verdict = click.style(f"{findings or 'no'} finding{'' if findings == 1 else 's'}", fg=colour, bold=True)
    nobody = "" if contexts else ": the mapping lets nobody in"
    click.echo(f"{contexts} context{'' if contexts == 1 else 's'}, {verdict}{nobody}")


def _matrix(report: Report) -> None:
    """Where there are many, only rows with findings, and the first of them."""
    names = [str(one.context) for one in report.contexts]
    single = len(names) <= SINGLE_MOST
    heads = [*(map(str, range(1, len(names) + 1)) if single else (Column.OTHERS,)), *_AROUND]
    keys = [*(names if single else (Column.OTHERS,)), *_AROUND]
    width = max(len(_shown(one)) for one in names)
    head = "  ".join(f"{one:<2}" for one in heads)
    click.echo(click.style(f"{'':>4}  {'this may do to':<{width}}  {head}", underline=True))
    rows = [(one, [report.cells.get((one.context, key)) for key in keys]) for one in report.contexts]
    shown = [(number, *row) for number, row in enumerate(rows, 1) if single or any(row[1])]
    for number, one, counts in shown[:_ROWS]:
        texts = ["=" if key == str(one.context) else _cell(count) for key, count in zip(keys, counts, strict=True)]
        click.echo(f"{number:>4}  {_shown(str(one.context)):<{width}}  {_cells(heads, texts)}")
    if len(shown) > _ROWS:
        click.echo(f"{'':>4}  and {len(shown) - _ROWS} more with findings")
    click.echo(f"{'':>4}  - nothing, + only what is meant, a number: findings\n")


def _cell(count: int | None) -> str:
    return "-" if count is None else str(count or "+")


def _cells(heads: list[Any], texts: list[Any]) -> str:
    padded = zip(heads, texts, strict=True)
    return "  ".join(_coloured(text) + " " * (max(2, len(head)) - len(text)) for head, text in padded).rstrip()


def _coloured(text: str) -> str:
    if text in ("-", "+"):
        return click.style(text, fg="green")
    return click.style(text, fg="red", bold=True) if text.isdigit() else text


def _explain(finding: Finding, count: int, places: dict[str, str]) -> None:
    source, target = _shown(str(finding.source)), _shown(str(finding.target))
    place = places.get(str(finding.source), "")
    more = f", and {count - 1} more like it" if count > 1 else ""
    what = finding.what if finding.kind in ("context", "categories") else f"-> {target} : {finding.what}"
    click.echo(f"{click.style('finding', fg='red', bold=True)}  {plain(f'{source} ({place}) {what}{more}')}")
    for rule in finding.rules:
        click.echo(f"{'rule':<9}{plain(rule)}")
    click.echo(f"{'fix':<9}{_fix(finding)}\n")


def _fix(finding: Finding) -> str:
    if finding.what.startswith("is permissive"):
        return f"semanage permissive -d {finding.source.domain}"
    if finding.kind == "categories":
        return f"use others than those of {USER} and {REQUEST}, or give them other bands: selcgi serve would not start"
    if finding.kind == "context":
        return f"load the module that declares {finding.source.domain} (semodule -l), or correct the mapping"
    if finding.column is Column.OTHERS and finding.target.range and finding.source.range != finding.target.range:
        return (
            f"give each user of the domain categories of his own: {finding.source.domain}:s0:{USER}; or change the rule"
        )
    return "take the rule out of the policy, or the context out of the mapping"


def _shown(context: str) -> str:
    """Without the user and role that nearly all have."""
    return context.removeprefix(f"{LAUNCHER.user}:{LAUNCHER.role}:").removeprefix(f"{LAUNCHER.user}:object_r:")


def _as_json(policy: Path, report: Report) -> dict[str, Any]:
    return {
        "policy": str(policy),
        "contexts": [{"context": str(one.context), "where": one.where} for one in report.contexts],
        "zygotes": [{"context": str(one.context), "where": one.where} for one in report.zygotes],
        "findings": [
            {
                "kind": one.kind,
                "column": one.column,
                "source": str(one.source),
                "target": str(one.target),
                "what": one.what,
                "rules": one.rules,
                "fix": _fix(one),
                "alike": count,
            }
            for one, count in report.findings
        ],
        "cells": [{"source": str(source), "to": to, "findings": n} for (source, to), n in report.cells.items()],
    }
