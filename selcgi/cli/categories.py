"""`selcgi categories`: who has which, and the folders that carry them. Prints what system/ says; holds no logic."""

import json
import shlex
import sys
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from selcgi.cli.options import FILE, REGISTRY
from selcgi.cli.terminal import plain, table
from selcgi.cli.values import band
from selcgi.context import Band
from selcgi.errors import RegistryFailed
from selcgi.mapping.categories import text_of, unrank
from selcgi.settings import USER_BAND
from selcgi.system.labelling import open_labelling
from selcgi.system.registry import Registry, recorded_band
from selcgi.system.semanage import add_or_change
from selcgi.system.userfiles import Odd, lasting, odd_levels, relabelled, set_level

_SHOWN = 100  # findings

BAND = click.option(
    "--user-categories", type=band, metavar="cN.cM", show_default="as recorded", help="As given to selcgi serve."
)


@click.group()
def categories() -> None:
    """Show and change which categories c{user} gives to whom.

    The registry is selcgi's own, so that list, assign and release are for its user. label and check look at files of
    others: run them as root, by selcgi's python, since the program itself enters a domain that may relabel nothing.

    \b
    runuser -u selcgi -- selcgi categories list
    /opt/selcgi/bin/python -m selcgi categories label alice /srv/data/user/alice
    /opt/selcgi/bin/python -m selcgi categories check
    """


def _open(path: Path, wanted: Band | None) -> Registry:
    return Registry(path, wanted or recorded_band(path) or USER_BAND)


def _pair(registry: Registry, number: int) -> str:
    return text_of(unrank(number, registry.band))


@categories.command("list")
@REGISTRY
@click.option("--all", "with_released", is_flag=True, help="Those that were released, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(categories: Path, with_released: bool, as_json: bool) -> None:
    """Show each user with his categories, and since when he has them.

    \b
    runuser -u selcgi -- selcgi categories list --all
    """
    registry = _open(categories, None)
    rows: dict[int, dict[str, Any]] = {}
    for record in registry.records():
        row = {"number": str(record.number), "categories": _pair(registry, record.number), "user": record.name}
        if record.kind == "assigned":
            rows[record.number] = row | {"since": record.when, "released": ""}
        elif record.kind == "released":
            rows[record.number]["released"] = record.when
    shown = [row for row in rows.values() if with_released or not row["released"]]
    if as_json:
        click.echo(json.dumps(shown))
        return
    columns = ("number", "categories", "user", "since") + (("released",) if with_released else ())
    if shown:
        click.echo(table(shown, columns))
    click.echo(f"{registry.ledger.next} of {registry.capacity} pairs of {registry.band} have been given")


@categories.command()
@click.argument("user")
@REGISTRY
@BAND
@click.option("--reuse", type=click.IntRange(0), metavar="N", help="Give a released number, and what still carries it.")
def assign(user: str, categories: Path, user_categories: Band | None, reuse: int | None) -> None:
    """Give USER categories, and show them.

    \b
    runuser -u selcgi -- selcgi categories assign alice
    """
    registry = _open(categories, user_categories)
    click.echo(f"{plain(user)}: {_pair(registry, registry.assign(user, reuse))}")


@categories.command()
@click.argument("user")
@REGISTRY
def release(user: str, categories: Path) -> None:
    """Take USER's categories away. If he comes again, he gets others. Files keep the categories that they carry.

    \b
    runuser -u selcgi -- selcgi categories release alice
    """
    registry = _open(categories, None)
    folders = [folder for folder, name in registry.ledger.folders.items() if name == user]
    number = registry.release(user)
    click.echo(f"{plain(user)} had {_pair(registry, number)}, number {number}")
    for folder in folders:
        _warn(f"{folder} and what lies in it still carry them: nobody reads that now")
    _warn(f"whoever gets them by --reuse {number} reads all that still carries them: find it with ls -Z first")


def _warn(text: str) -> None:
    click.echo(f"{click.style('warning', fg='yellow')} {plain(text)}", err=True)


@categories.command()
@click.argument("user")
@click.argument("folder", type=FILE)
@REGISTRY
@BAND
@click.option("--permanent", is_flag=True, help="Tell the policy's file contexts, too, by semanage.")
def label(user: str, folder: Path, categories: Path, user_categories: Band | None, permanent: bool) -> None:
    """Put USER's categories on FOLDER and all beneath it. He gets some if he has none.

    \b
    /opt/selcgi/bin/python -m selcgi categories label --permanent \\
        alice /srv/data/user/alice
    """
    registry, folder = _open(categories, user_categories), folder.absolute()
    if not str(folder).isprintable() or ".." in folder.parts:
        raise RegistryFailed(f"{str(folder)!a} is no plain path", "name it without .. and control characters")
    level = f"s0:{_pair(registry, registry.assign(user))}"
    changed = set_level(folder, level, lambda: registry.label(user, str(folder)))
    click.echo(f"{plain(user)}: {level}, {changed} labels changed beneath {folder}")
    command = lasting(folder, level)
    if permanent:
        click.echo(f"the policy knows: {shlex.join(add_or_change(command))}")
    else:
        click.echo(f"a relabel takes them away, unless the policy knows: {shlex.join(command)}")


@categories.command(short_help="Find files that have lost their user's categories.")
@click.argument("folders", nargs=-1, type=FILE, metavar="[FOLDER]..")
@REGISTRY
def check(folders: tuple[Path, ...], categories: Path) -> None:
    """Find files that have lost their user's categories, or will at the next relabel. Exit 1 if there are any.

    In the folders that were labelled, or in those of them that lie in FOLDER. Other file systems are not looked at.

    \b
    /opt/selcgi/bin/python -m selcgi categories check /srv/data/user
    """
    registry = _open(categories, None)
    within = [folder.absolute() for folder in folders] or [Path("/")]
    known = {Path(path): name for path, name in registry.ledger.folders.items()}
    chosen = {path: name for path, name in known.items() if any(path.is_relative_to(one) for one in within)}
    if not chosen:
        raise RegistryFailed("no labelled folder is there", "selcgi categories label USER FOLDER")
    labelling = open_labelling()
    count, cures = 0, []
    for path, name in chosen.items():
        before = count
        level = f"s0:{_pair(registry, registry.ledger.numbers[name])}"
        after = relabelled(path, level, labelling)
        odd = chain(odd_levels(path, level), (after,) if after else ())
        for one in islice(odd, max(0, _SHOWN - count)):
            count += 1
            _show(one, name, level)
        count += sum(1 for _ in odd)
        if count > before:
            cures.append(
                shlex.join((sys.executable, "-m", "selcgi", "categories", "label", "--permanent", name, str(path)))
            )
    if count > _SHOWN:
        click.echo(f"and {count - _SHOWN} more")
    for command in cures[:_SHOWN]:
        click.echo(f"do {plain(command)}")
    click.echo(f"{len(chosen)} folders, {count} findings")
    sys.exit(1 if count else 0)


def _show(odd: Odd, name: str, level: str) -> None:
    click.echo(plain(f"{odd.path}: {odd.why}, not at {level} of {name}"))
