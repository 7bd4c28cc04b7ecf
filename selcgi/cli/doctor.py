"""`selcgi doctor`: what the checks of diagnose/ find, as sections or JSON. Holds no logic."""

import json
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import click

from selcgi.cli.options import (
    DEFAULTS,
    FILE,
    GROUP_FILE,
    PARAM_DOMAIN,
    REQUEST_BAND,
    SOCKET,
    USER_BAND,
    map_option,
    root_option,
)
from selcgi.cli.terminal import plain
from selcgi.cli.values import listen
from selcgi.context import Band
from selcgi.diagnose.doctor import examine
from selcgi.diagnose.fault import Fault
from selcgi.diagnose.scene import Scene
from selcgi.diagnose.staging import Subject, kernel_faults, stage, why_by_kernel
from selcgi.errors import ZygoteFailed
from selcgi.launch.program import program_path
from selcgi.mapping.categories import clashes
from selcgi.mapping.chain import Chain
from selcgi.serve.categories import bands_of
from selcgi.serve.sources import open_sources
from selcgi.settings import CategorySettings, ListenerSettings, MapSource, Settings
from selcgi.system.facts import read_kernel_facts
from selcgi.system.filecontexts import NoContexts, open_file_contexts
from selcgi.system.labelling import Labelling, open_labelling
from selcgi.system.policy import open_policy
from selcgi.system.policyfile import open_policy_file

_COLOURS = {"fatal": "red", "warning": "yellow", "note": "blue"}
_PLACES = 5  # of a fault that are shown to people


@click.command(short_help="Find what is wrong before the first request.")
@map_option
@GROUP_FILE
@PARAM_DOMAIN
@USER_BAND
@REQUEST_BAND
@root_option
@click.option(
    "--listen",
    "listeners",
    type=listen,
    multiple=True,
    default=(SOCKET,),
    show_default=SOCKET.address,
    allow_from_autoenv=False,
    metavar="ADDRESS[,KEY=VALUE..]",
    help="As given to selcgi serve.",
)
@click.option("--policy", type=FILE, show_default="the kernel's", help="Ask this binary policy instead.")
@click.option("--file-contexts", type=FILE, show_default="no scripts", help="With --policy: labels of the scripts.")
@click.option(
    "--prefix",
    type=FILE,
    show_default="none",
    help="With --policy: folder that the roots lie beneath, here but not there.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(policy: Path | None, file_contexts: Path | None, prefix: Path | None, as_json: bool, **values: Any) -> None:
    """Find what is wrong before the first request, and say what to do about it.

    Asks the running kernel and its policy, for each context of the mapping and each script beneath the roots, every
    question that a request would meet, and what a script must not do. Nothing is started, nothing is changed. Run it
    as root. From selcgi's own Python it may read the whole policy, and names booleans and constraints, too.

    With --policy it asks a file instead, of the machine that selcgi will run on, and this one needs no SELinux: only
    the distribution's python3-setools and python3-selinux. Scripts are judged by the labels that --file-contexts gives
    to their places. What only the running machine can answer is listed as not looked at.

    Exit: 0 nothing is wrong (notes do not count), 1 something is, 2 usage, 3 could not run.

    \b
    The site of /etc/selcgi:   selcgi doctor
    With the whole policy:     /opt/selcgi/bin/python -m selcgi doctor
    A change, before it is on: selcgi doctor --map site.map --policy policy.33
    And its scripts:           ... --policy policy.33 \\
                               --file-contexts file_contexts --prefix tree
    Another mapping:           selcgi doctor --map new.map --root /srv/cgi
    """
    settings = settings_of(**values)
    if policy is not None:
        _finish(*_elsewhere(settings, policy, file_contexts, prefix), as_json)
    if file_contexts is not None or prefix is not None:
        raise click.UsageError("--file-contexts and --prefix need --policy")
    facts, faults = kernel_faults()
    if facts is None:
        _finish(None, faults, as_json)
    with ExitStack() as held:
        loaded = open_policy()
        subject = subject_of(settings, open_sources(settings))
        scene = stage(loaded, open_labelling(), subject, why_by_kernel(held, loaded, facts.label))
        faults = (*faults, *examine(scene))
    _finish(scene, faults, as_json)


def _elsewhere(
    settings: Settings, policy: Path, file_contexts: Path | None, prefix: Path | None
) -> tuple[Scene, tuple[Fault, ...]]:
    """For a machine that has this policy, asked on any."""
    with ExitStack() as held:
        opened = held.enter_context(open_policy_file(policy))
        folder = str(prefix.resolve()).rstrip("/") if prefix else ""
        labelling: Labelling = NoContexts()
        roots: tuple[Path, ...] = ()
        if file_contexts is not None:
            labelling = held.enter_context(open_file_contexts(file_contexts, folder))
            roots = tuple(Path(f"{folder}{root}") for root in settings.roots)
        chain, bands = open_sources(settings), bands_of(settings.categories)
        subject = Subject(
            settings=replace(settings, roots=roots),
            specs=chain.specs(bands),
            bands=bands,
            clashes=clashes(chain, bands),
            program="",
            listener="",
            warm=_warm_domains(chain),
            kernel=opened.facts(),
            elsewhere=True,
            prefix=folder,
        )
        scene = stage(opened, labelling, subject, opened.why)
        return scene, examine(scene)


def settings_of(
    maps: tuple[MapSource, ...],
    group_files: tuple[Path, ...],
    param_domains: tuple[str, ...],
    roots: tuple[Path, ...],
    user_categories: Band = DEFAULTS.categories.users,
    request_categories: Band = DEFAULTS.categories.requests,
    listeners: tuple[ListenerSettings, ...] = (),
) -> Settings:
    """Those settings of selcgi serve that say what it runs for whom."""
    return Settings(
        listeners=listeners,
        maps=maps,
        group_files=tuple(path.absolute() for path in group_files),
        param_domains=param_domains,
        roots=tuple(path.absolute() for path in roots),
        categories=CategorySettings(users=user_categories, requests=request_categories),
    )


def subject_of(settings: Settings, chain: Chain) -> Subject:
    """With the programs beside the Python that runs now, or where selcgi is installed."""
    beside, bands = Path(sys.executable).parent, bands_of(settings.categories)
    return Subject(
        settings=settings,
        specs=chain.specs(bands),
        bands=bands,
        clashes=clashes(chain, bands),
        accounts=chain.accounts(),
        program=str(beside / "selcgi"),
        listener=str(beside / "selcgi-avc"),
        zygote=zygote_program(),
        warm=_warm_domains(chain),
        kernel=read_kernel_facts(),
    )


def _warm_domains(chain: Chain) -> frozenset[str]:
    return frozenset(spec.domain for spec, _ in chain.warmed())


def zygote_program() -> str:
    """Empty when there is none."""
    try:
        return str(program_path())
    except ZygoteFailed:
        return ""


def _finish(scene: Scene | None, faults: tuple[Fault, ...], as_json: bool) -> NoReturn:
    """Show it all, and end with the exit code that says how it is."""
    if as_json:
        click.echo(json.dumps({"looked_at": _looked_at(scene), "faults": [asdict(one) for one in faults]}, indent=1))
    else:
        for one in faults:
            _show(one)
        click.echo(_summary(scene, faults))
    sys.exit(1 if any(one.severity != "note" for one in faults) else 0)


def _looked_at(scene: Scene | None) -> dict[str, int]:
    if scene is None:
        return {"contexts": 0, "scripts": 0}
    return {"contexts": len(scene.mapped), "scripts": sum(one.count for one in scene.scripts)}


def _summary(scene: Scene | None, faults: tuple[Fault, ...]) -> str:
    counts = Counter[str](one.severity for one in faults)
    found = ", ".join(f"{counts[name]} {name}" for name in _COLOURS if counts[name]) or "nothing is wrong"
    looked = _looked_at(scene)
    return f"{found}: {looked['contexts']} contexts and {looked['scripts']} scripts were looked at"


def _show(one: Fault) -> None:
    head = click.style(f"{one.severity:<8}", fg=_COLOURS[one.severity], bold=one.severity == "fatal")
    click.echo(f"{head}{click.style(one.check, bold=True)}: {plain(one.what)}")
    places = ", ".join(one.where[:_PLACES]) + (f" and {len(one.where) - _PLACES} more" if one.where[_PLACES:] else "")
    record = "the kernel keeps no record of it (dontaudit): semodule -DB shows it" if one.silent else ""
    for name, text in (("where", places), ("symptom", one.symptom), ("log", record), ("do", one.fix)):
        if text:
            click.echo(f"{'':<8}{name:<9}{plain(text)}")
