"""One request on the command line: its options, and the FastCGI params out of them, as a web server would send them.

Decides how they are written down. Must not decide anything about the request itself. Used by cli/run.py,
cli/request.py and cli/failures.py.
"""

import functools
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import click

from selcgi.cli.options import PARAM, named_values
from selcgi.cli.values import Command
from selcgi.serve.client import Pairs

_IS_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 section 5.6.2
_IS_VALUE = re.compile(r"[^\0-\x08\x0a-\x1f\x7f]*").fullmatch  # section 5.5
_OPTIONS = (
    click.option(
        "--user", default="", show_default="nobody known", help="The user that a web server would have proven."
    ),
    click.option("--method", default="", show_default="GET, with --body POST", help="Of the request."),
    click.option("--query", default="", help="Query string; or write it after a ? in SCRIPT."),
    click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="Request header. Repeatable."),
    click.option("--body", metavar="FILE", type=click.File("rb"), help="File to send as the body, - for stdin."),
    PARAM,
    click.argument("script", metavar="SCRIPT[/PATH_INFO][?QUERY]"),
)


def request_options(command: Command) -> Command:
    """What params_of() makes params of."""
    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), command)


def params_of(roots: tuple[Path, ...], values: Mapping[str, Any], auth_type: str = "") -> dict[str, str]:
    """Out of the values of request_options. A relative script lies beneath the first root."""
    path, _, tail = values["script"].partition("?")
    return {
        "REQUEST_METHOD": values["method"] or ("POST" if values["body"] is not None else "GET"),
        "QUERY_STRING": values["query"] or tail,
        "REMOTE_USER": values["user"],
        "AUTH_TYPE": auth_type,
        **_script_params(roots, path),
        **header_params(values["headers"]),
        **named_values(values["given"]),
        "CONTENT_LENGTH": body_length(values["body"]),
    }


def encoded(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """As they go over the wire."""
    return tuple((os.fsencode(name), os.fsencode(value)) for name, value in pairs)


def body_length(body: IO[bytes] | None) -> str:
    """Of a file; that of a pipe is not known beforehand."""
    if body is None:
        return "0"
    what = os.fstat(body.fileno())
    return str(what.st_size) if stat.S_ISREG(what.st_mode) else ""


def header_params(headers: tuple[str, ...]) -> dict[str, str]:
    params = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not _IS_TOKEN(name) or not _IS_VALUE(value):
            raise click.BadParameter(f"{header!a} is not 'NAME: VALUE'", param_hint="--header")
        key = name.upper().replace("-", "_")
        params[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value.strip()
    return params


def _script_params(roots: tuple[Path, ...], path: str) -> dict[str, str]:
    whole = path if path.startswith("/") else f"{roots[0]}/{path}"
    base = next((one for one in roots if whole.startswith(f"{one}/")), roots[0])
    url = whole.removeprefix(str(base))
    return {
        "SCRIPT_FILENAME": whole,
        "SCRIPT_NAME": url,
        "DOCUMENT_ROOT": str(base),
        "REQUEST_URI": url,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
    }
