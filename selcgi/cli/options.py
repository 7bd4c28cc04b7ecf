"""The options that several commands share.

Decides how an option is written and named in --help; every one also reads SELCGI_<COMMAND>_<OPTION>, except those that
could switch protection off from an environment file. Must not look at the system. Used by the commands of cli/.
"""

import functools
import os
from pathlib import Path
from typing import Any

import click

from selcgi.cli.values import Command, band_option, seconds_option, size_option
from selcgi.cli.warm import WARM, warm_from
from selcgi.plan import Limits
from selcgi.policy import application
from selcgi.settings import DENIALS, CategorySettings, EnvironRules, ListenerSettings, MapLogin, MapParam, Settings

MAP_FILE = Path("/etc/selcgi/site.map")
ROOT = Path(application.ROOT)
SOCKET = ListenerSettings("unix:/run/selcgi/selcgi.sock")
FILE = click.Path(path_type=Path, readable=False)  # whether it may be used, whoever opens it says
DEFAULTS = Settings()


class _Source(click.Path):
    """SOURCE_FORMS. A file that is called so is written ./param:NAME."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:  # a MapSource
        if not isinstance(value, str):
            return value
        kind, colon, rest = value.partition(":")
        if not colon or kind not in ("param", "login"):
            return Path(value).absolute()
        if not rest:
            self.fail(f"{value!r} has nothing behind the colon ({SOURCE_FORMS})", param, context)
        return MapParam(rest) if kind == "param" else MapLogin(Path(rest).absolute())


SOURCE_FORMS = "FILE|param:NAME|login:TABLE"
SOURCE = _Source()
GROUP_FILE = click.option(
    "--group-file",
    "group_files",
    metavar="FILE",
    type=FILE,
    multiple=True,
    allow_from_autoenv=False,
    help="Apache's AuthGroupFile (NAME: USER USER) for @NAME in the mapping. Repeatable: they add up, and hide Unix "
    "groups of their names.",
)
PARAM_DOMAIN = click.option(
    "--param-domain",
    "param_domains",
    metavar="TYPE",
    multiple=True,
    allow_from_autoenv=False,
    help="SELinux type that --map param:NAME may choose. Repeatable.",
)
PARAM = click.option(
    "--param",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="Parameter that the web server would send, for --map param:NAME. Repeatable.",
)
map_option = click.option(
    "--map",
    "maps",
    metavar=SOURCE_FORMS,
    type=SOURCE,
    multiple=True,
    default=(MAP_FILE,),
    show_default=str(MAP_FILE),
    allow_from_autoenv=False,
    help="Mapping file, see selcgi.map(5); or a parameter that the web server's authentication fills from its "
    "directory; or SELinux's own login mapping. Repeatable: asked in this order, the first that answers decides.",
)
root_option = click.option(
    "--root",
    "roots",
    metavar="DIR",
    type=FILE,
    multiple=True,
    default=(ROOT,),
    show_default=str(ROOT),
    allow_from_autoenv=False,
    help="Folder that scripts lie in. Repeatable; links may lead from one to another.",
)
_SITE = (
    map_option,
    GROUP_FILE,
    PARAM_DOMAIN,
    root_option,
    click.option(
        "--selinux",
        type=click.Choice(["required", "permissive-ok", "off"]),
        default=DEFAULTS.selinux,
        show_default=True,
        allow_from_autoenv=False,
        help="What to do without an enforcing kernel. Anything but 'required' says so in each log line.",
    ),
    click.option(
        "--script-user", metavar="USER", default="", show_default="selcgi's own", help="Unix user of scripts."
    ),
    click.option(
        "--cgroup",
        default=DEFAULTS.cgroup,
        show_default=True,
        metavar="auto|none|PATH",
        help="Delegated cgroup v2 that ends a request's processes. Without one a guard process does.",
    ),
)


_DENIALS = click.option("--denials", type=FILE, default=DENIALS, show_default=True, metavar="PATH|none",
                        help="Socket of selcgi-avc, which tells what the kernel refused a script.")  # fmt: skip
_LIMITS = (
    seconds_option("--timeout", DEFAULTS.limits.total_seconds, "Longest request."),
    seconds_option("--first-byte-timeout", DEFAULTS.limits.first_byte_seconds, "Until the head is there."),
    seconds_option("--idle-timeout", DEFAULTS.limits.idle_seconds, "Longest silence."),
    seconds_option("--kill-grace", DEFAULTS.kill_grace_seconds, "Between SIGTERM and SIGKILL."),
    size_option("--max-body", DEFAULTS.limits.body_bytes, "Longest request body."),
    click.option("--spool", type=FILE, default=DEFAULTS.spool, show_default=True, help="Where long bodies wait."),
    size_option("--spool-total", DEFAULTS.spool_bytes, "All waiting bodies of a worker."),
)
REGISTRY = click.option(
    "--categories", type=FILE, default=DEFAULTS.categories.registry, show_default=True, help="Registry for c{user}."
)
USER_BAND = band_option(
    "--user-categories", DEFAULTS.categories.users, "Where users get their pairs from; the registry has it, too."
)
REQUEST_BAND = band_option(
    "--request-categories", DEFAULTS.categories.requests, "Where c{request} gets its pairs from."
)
_CATEGORIES = (
    REGISTRY,
    USER_BAND,
    REQUEST_BAND,
    click.option(
        "--assign-categories",
        type=click.Choice(["first-request", "by-command"]),
        default="first-request",
        show_default=True,
        help="When a user gets his; by command: selcgi categories assign.",
    ),
)
_ENVIRON = (
    click.option(
        "--env", metavar="NAME[=VALUE]", multiple=True, help="Give scripts this variable (value: selcgi's own)."
    ),
    click.option("--pass-param", metavar="NAME", multiple=True, help="Give scripts this parameter of the web server."),
    click.option(
        "--local-redirects",
        is_flag=True,
        allow_from_autoenv=False,
        help="Follow a script's 'Location: /path' inside, up to 5 times, only beneath the script's own folder. "
        "The web server does not authorise it again. Without this the client is sent there.",
    ),
)


def site_options(command: Command) -> Command:
    """The options of every command that starts scripts."""
    decorators = (*_SITE, *_LIMITS, *_CATEGORIES, *_ENVIRON, *WARM, _DENIALS)
    return functools.reduce(lambda inner, option: option(inner), reversed(decorators), command)


def settings_from(values: dict[str, Any], **more: Any) -> Settings:
    """Settings out of the values of site_options; `more` are fields of Settings that other options gave."""
    limits = Limits(
        total_seconds=values["timeout"],
        first_byte_seconds=values["first_byte_timeout"],
        idle_seconds=values["idle_timeout"],
        body_bytes=values["max_body"],
    )
    return Settings(
        maps=values["maps"],
        group_files=tuple(path.absolute() for path in values["group_files"]),
        param_domains=values["param_domains"],
        roots=tuple(path.absolute() for path in values["roots"]),
        limits=limits,
        categories=CategorySettings(
            registry=values["categories"].absolute(),
            users=values["user_categories"],
            requests=values["request_categories"],
            by_command=values["assign_categories"] == "by-command",
        ),
        environ=EnvironRules(fixed=_fixed(values["env"]), passed=tuple(values["pass_param"])),
        warm=warm_from(values),
        kill_grace_seconds=values["kill_grace"],
        spool=values["spool"],
        spool_bytes=values["spool_total"],
        local_redirects=values["local_redirects"],
        script_user=values["script_user"],
        cgroup=values["cgroup"],
        selinux=values["selinux"],
        denials=values["denials"] if values["denials"] != Path("none") else None,
        **more,
    )


def script_path(settings: Settings, script: str) -> str:
    """A relative one lies beneath the first root."""
    return script if script.startswith("/") else str(settings.roots[0] / script)


def named_values(texts: tuple[str, ...]) -> dict[str, str]:
    """Of --param."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isascii() or not name.isidentifier():
            raise click.BadParameter(f"{text!a} is not NAME=VALUE", param_hint="--param")
        pairs[name] = value
    return pairs


def _fixed(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise click.BadParameter(f"{text!r} has no name before the =", param_hint="--env")
        if not equals and name not in os.environ:
            raise click.BadParameter(f"{text!r}: no such variable in selcgi's environment", param_hint="--env")
        pairs.append((name, value if equals else os.environ[name]))
    return tuple(pairs)
