"""`selcgi policy new`: the policy module of one application, written to a file, and the commands that load it.

Decides which answers of the system go into the module, and how the outcome is shown. What the module says is
policy/application.py's. Nothing is loaded and nothing labelled here: both are commands that it prints.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from selcgi.cli.options import FILE
from selcgi.errors import PolicyRefused
from selcgi.policy import ports, words
from selcgi.policy.application import (
    ROOT,
    SWITCHES,
    Application,
    Place,
    labelled,
    module_text,
    read_only,
    roots,
    script_words,
)
from selcgi.system.semanage import list_ports, other_module


@click.group()
def policy() -> None:
    """SELinux policy modules of applications.

    \b
    selcgi policy new shop --script /srv/shop/cgi/ --writes /srv/shop/orders
    """


def _switches(command: Any) -> Any:
    for name, text in reversed(SWITCHES.items()):
        command = click.option(f"--{name}", is_flag=True, help=f"It may {text}.")(command)
    return command


@policy.command(short_help="Write the SELinux module of an application.")
@click.option(
    "--script",
    "scripts",
    metavar="PATH",
    multiple=True,
    help="A script, or a folder of scripts (with a / at its end, or there already).",
)
@click.option("--writes", metavar="DIR", multiple=True, help="A folder that it may change.")
@click.option("--reads", metavar="DIR", multiple=True, help="A folder that it may read.")
@click.option(
    "--connects",
    metavar="PORT|TYPE",
    multiple=True,
    help="A TCP port that it may connect to, by its number or the policy's type.",
)
@_switches
@click.option("--warm", is_flag=True, help="Its Python scripts may run in forks of a warm interpreter, as warm= says.")
@click.option("--output", type=FILE, default=None, show_default="NAME.cil", help="Where to write the module.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.argument("name")
def new(name: str, scripts: tuple[str, ...], writes: tuple[str, ...], reads: tuple[str, ...],
        connects: tuple[str, ...], warm: bool, output: Path | None, force: bool, **switches: bool) -> None:  # fmt: skip
    """Write the SELinux module of the application NAME, and say how to load it.

    Its domain is NAME.webapp_t. Each --option for a place or port may be given more than once. Nothing is changed but
    the file. On a host with SELinux run it in your own domain: selcgi's has no right to write files.

    \b
    A shop that keeps its orders in /srv/shop/orders, with LDAP:
        selcgi policy new shop --script /srv/shop/cgi/ \\
            --writes /srv/shop/orders --connects 389
    """
    _refuse_taken(words.checked_name(name))
    app = Application(
        name=name,
        scripts=tuple(_place(one, folder=_is_folder(one)) for one in scripts),
        writes=tuple(_place(one, changes=True) for one in writes),
        reads=tuple(_place(one) for one in reads),
        ports=_ports(connects),
        types=tuple(words.checked_type(one) for one in connects if not one.isdigit()),
        switches=tuple(one for one, given in switches.items() if given),
        warm=warm,
    )
    _refuse_twice(labelled(app))
    path = output or Path(f"{name}.cil")
    _write(path, module_text(app), force)
    _tell(app, path)


def _is_folder(path: str) -> bool:
    return path.endswith("/") or Path(path).is_dir()


def _place(text: str, *, folder: bool = True, changes: bool = False) -> Place:
    return Place(words.checked_path(text, changes), folder)


def _ports(connects: tuple[str, ...]) -> tuple[ports.Port, ...]:
    """With the types that the policy has for them, as far as it can be asked."""
    numbers = [_number(one) for one in connects if one.isdigit()]
    if not numbers:
        return ()
    known = list_ports()
    if known is None:
        click.echo(
            "the types of ports are not known: semanage port -l takes root and policycoreutils-python-utils. Each port "
            "gets a type of the application's own; where the policy has one, semodule will refuse that: name the type.",
            err=True,
        )
    return tuple(ports.find(one, known or ()) for one in dict.fromkeys(numbers))


def _number(text: str) -> int:
    if not text.isascii() or not 0 < int(text[:6]) < 65536 or len(text) > 5:
        raise click.BadParameter(f"{text!a} is no port (1 to 65535)", param_hint="--connects")
    return int(text)


def _refuse_taken(name: str) -> None:
    """A module of the same name would take the place of the other (semodule(8), priorities)."""
    if other := other_module(name):
        raise PolicyRefused(f"{name!r} is a module of the distribution: {other}", "choose another name")


def _refuse_twice(paths: list[str]) -> None:
    for path in paths:
        if paths.count(path) > 1:
            raise PolicyRefused(f"{path} is named twice, and can have one label only", "name it once")


def _write(path: Path, text: str, force: bool) -> None:
    """Never through a link that somebody laid there."""
    kind = os.O_TRUNC if force else os.O_EXCL
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | kind, 0o644)
    except FileExistsError:
        raise PolicyRefused(f"{path} is there already", "give --force to overwrite it, or --output FILE") from None
    except OSError as error:
        own = f"{sys.executable} -m selcgi policy new ..."
        fix = f"choose another place; where selcgi_t may not write, run it in your own domain: {own}"
        raise PolicyRefused(f"cannot write {path}: {error.strerror}", fix) from error
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def _tell(app: Application, path: Path) -> None:
    """What is in it that was not asked for word by word, and the three commands."""
    click.echo(f"written: {path}, the domain {app.domain}")
    for port in app.ports:
        if port.type:
            others = f", whose other ports it may connect to as well: {port.others}" if port.others else ""
            click.echo(f"port {port.number} has the type {port.type}{others}")
        else:
            own = f"{app.name}.port_t"
            click.echo(
                f"port {port.number} gets the type {own}; a confined server that listens on it needs "
                f"(allow SERVER_t {own} (tcp_socket (name_bind)))"
            )
    click.echo(click.style("to load it:", bold=True))
    click.echo(f"    semodule -i {shlex.quote(str(path))}")
    if paths := labelled(app):
        click.echo(f"    restorecon -RF {' '.join(map(shlex.quote, paths))}")
    click.echo(f"{click.style('in the mapping,', bold=True)} above other rules that match the same users:")
    for narrowed in script_words(app) or [""]:
        click.echo(f"    USER  {app.domain}:s0 {narrowed}{' warm=yes' if app.warm else ''}".rstrip())
    if app.warm:
        click.echo("    a WSGI application: warm=wsgi:NAME, with the name that it has in its file")
    _tell_service(app)
    click.echo(click.style("to check it then:", bold=True))
    click.echo(f"    {' '.join(['selcgi doctor', *_root_words([ROOT, *roots(app)] if roots(app) else [])])}")


def _root_words(folders: list[str]) -> list[str]:
    return [f"--root={shlex.quote(one)}" for one in folders]


def _tell_service(app: Application) -> None:
    """What the service needs to be told of places that are not its own."""
    if found := roots(app):
        click.echo(f"{click.style('for selcgi', bold=True)}: {' '.join(_root_words(found))}")
        click.echo(f"    a --root takes the place of the default, {ROOT}: name that, too, where it is used")
    if found := read_only(app):
        click.echo(f"{click.style('in the unit', bold=True)} (systemctl edit selcgi), which leaves the rest read-only:")
        click.echo("    [Service]")
        click.echo(f"    ReadWritePaths={' '.join(found).replace('%', '%%')}")  # systemd.unit(5), SPECIFIERS
