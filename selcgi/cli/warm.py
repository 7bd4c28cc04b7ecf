"""The options of warm interpreters, and settings.WarmSettings out of their values.

Decides how they are written and which mistakes are told at once; whether a module can be preloaded is found out when
the first interpreter starts. Used by cli/options.py, for every command that starts scripts, and by cli/explain.py.
"""

from typing import Any

import click

from selcgi.cli.values import seconds_option
from selcgi.mapping.options import is_module, read_script_glob
from selcgi.mapping.words import Mistake, show
from selcgi.serve.zygotepage import ROWS
from selcgi.settings import WarmSettings

_DEFAULTS = WarmSettings()


def _glob(text: str) -> str:
    try:
        return read_script_glob(text).text
    except Mistake as mistake:
        raise click.BadParameter(f"{mistake.reason.removeprefix('script=')}; {mistake.fix}") from None


def _module(name: str) -> str:
    if not is_module(name):
        raise click.BadParameter(f"{show(name)} is no module's name; write it as import does: json, django.db")
    return name


WARM_GLOB = click.option(
    "--warm",
    metavar="GLOB",
    type=_glob,
    multiple=True,
    help="Run CGI scripts with such an absolute path in forks of a warm Python interpreter, unless warm= of their rule "
    "says otherwise. Repeatable.",
)
WARM = (
    WARM_GLOB,
    click.option(
        "--preload",
        metavar="MODULE",
        type=_module,
        multiple=True,
        help="Python module that each warm interpreter imports at its start. Repeatable.",
    ),
    click.option(
        "--warm-fallback",
        is_flag=True,
        help="Start a fresh program where no warm interpreter can be had; without this the answer is 503.",
    ),
    click.option(
        "--warm-zygotes",
        metavar="N",
        type=click.IntRange(1, ROWS),
        default=_DEFAULTS.zygotes,
        show_default=True,
        help="Warm interpreters of one worker; the one longest unused makes room for one more.",
    ),
    click.option(
        "--warm-requests",
        metavar="N",
        type=click.IntRange(0),
        default=_DEFAULTS.requests,
        show_default=True,
        help="Of one warm interpreter, until another takes its place; 0: any number.",
    ),
    seconds_option("--warm-idle", _DEFAULTS.idle_seconds, "A warm interpreter without a request ends after it."),
)


def warm_from(values: dict[str, Any]) -> WarmSettings:
    """Out of the values of WARM."""
    return WarmSettings(
        scripts=values["warm"],
        preloads=values["preload"],
        fallback=values["warm_fallback"],
        zygotes=values["warm_zygotes"],
        requests=values["warm_requests"],
        idle_seconds=values["warm_idle"],
    )
