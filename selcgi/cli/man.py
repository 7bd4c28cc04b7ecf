"""The manual pages: `python -m selcgi.cli.man FOLDER` writes selcgi.1 and selcgi.map.5 from the source of --help.

Decides only how they are set, in man(7), for groff and mandoc alike. What they say stands at the commands, at their
options and in mapping/grammar.py; nothing here depends on how a version of click prints its help. contrib/man has the
result, and a test holds that it is up to date.
"""

import inspect
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from selcgi import VERSION
from selcgi.cli.failures import RECORDS
from selcgi.cli.grouped import variables
from selcgi.cli.main import EXIT_CODES, cli
from selcgi.cli.options import MAP_FILE, ROOT
from selcgi.diagnose.control import CONTROL
from selcgi.mapping import grammar

_ESCAPES = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)
_SHARED = 3  # commands that have an option: from so many on it is explained once
_FILES = (
    (str(MAP_FILE), "Who runs scripts in which context, see selcgi.map(5)."),
    (str(ROOT), "The scripts."),
    (str(CONTROL), "Where selcgi status asks a running selcgi."),
    (str(RECORDS), "The last failed requests, for selcgi failures and selcgi replay."),
)
Rows = Iterable[tuple[str, str]]


def selcgi_1() -> str:
    """selcgi(1)."""
    commands = dict(every_command("selcgi", cli))
    name, _, rest = (cli.help or "").partition("\n\n")
    counts = Counter(row for command in commands.values() for row in _options(command))
    shared = [row for row, count in counts.items() if count >= _SHARED]
    sharing = [path for path, command in commands.items() if set(shared) <= set(_options(command))]
    return _page(
        ("selcgi", 1, name),
        ("Synopsis", [line for path, command in commands.items() for line in (".br", *_usage(path, command))][1:]),
        ("Description", _paragraphs(rest)),
        ("Commands", (line for path, command in commands.items() for line in _command(path, command, shared))),
        ("Options of several commands", (*_lines(f"Those of {', '.join(sharing)}:"), *_rows(shared))),
        ("Environment", _lines(variables(commands.values(), "--timeout of selcgi serve is from SELCGI_SERVE_TIMEOUT"))),
        ("Exit status", _rows((str(code), text) for code, text in EXIT_CODES.items())),
        ("Files", _rows(_FILES)),
        ("See also", ["selcgi.map(5), systemd.service(5), runuser(1), semodule(8)"]),
    )


def selcgi_map_5() -> str:
    """selcgi.map(5)."""
    return _page(
        ("selcgi.map", 5, "who runs CGI scripts in which SELinux context"),
        ("Description", _paragraphs(grammar.INTRO)),
        *((one.title, (*_paragraphs(one.lead), *_rows(one.rows))) for one in grammar.SECTIONS),
        ("Examples", _verbatim(grammar.EXAMPLE)),
        ("Files", _rows([(str(MAP_FILE), "The default of --map.")])),
        ("See also", ["selcgi(1)"]),
    )


PAGES = {"selcgi.1": selcgi_1, "selcgi.map.5": selcgi_map_5}


def _page(head: tuple[str, int, str], *sections: tuple[str, Iterable[str]]) -> str:
    name, number, text = head
    lines = [
        r".\" Made by python -m selcgi.cli.man, do not edit.",
        f'.TH {name.upper()} {number} "" "selcgi {VERSION}"',
        ".SH NAME",
        rf"{name} \- {_escape(text[:1].lower() + text[1:].rstrip('.'))}",
    ]
    for title, inner in sections:
        lines += [f".SH {_escape(title.upper())}", *inner]
    return "\n".join(lines) + "\n"


def every_command(path: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Every command by its words, those of an inner group in its place."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from every_command(f"{path} {name}", command)
        else:
            yield f"{path} {name}", command


def _usage(path: str, command: click.Command) -> list[str]:
    options = ["[OPTIONS]"] if _options(command) else []
    arguments = [_metavar(one) for one in command.params if isinstance(one, click.Argument)]
    return [f".B {_escape(path)}", _escape(" ".join(options + arguments))]


def _command(path: str, command: click.Command, shared: list[tuple[str, str]]) -> Iterator[str]:
    yield f".SS {_escape(path)}"
    yield from _paragraphs(command.help or "")
    yield from _rows(row for row in _options(command) if row not in shared)


def _options(command: click.Command) -> list[tuple[str, str]]:
    return [_option(one) for one in command.params if isinstance(one, click.Option)]


def _option(option: click.Option) -> tuple[str, str]:
    default = option.show_default if isinstance(option.show_default, str) else str(option.default)
    text = f"{option.help or ''} Default: {default}." if option.show_default else option.help or ""
    return f"{', '.join(option.opts)} {_metavar(option)}".rstrip(), text.strip() + " Required." * option.required


def _metavar(param: click.Parameter) -> str:
    if param.metavar:
        return param.metavar
    if isinstance(param, click.Option) and param.is_flag:
        return ""
    if isinstance(param.type, click.Choice):
        return "|".join(map(str, param.type.choices))
    if isinstance(param, click.Argument):
        return (param.name or "").upper()
    return param.type.name.upper()


def _paragraphs(text: str) -> Iterator[str]:
    """As click reads a help text: a paragraph that begins with a backspace keeps its lines."""
    for number, block in enumerate(filter(None, inspect.cleandoc(text).split("\n\n"))):
        if block.startswith("\b\n"):
            yield from ([".sp"] if number else [])
            yield from _verbatim(block[2:])
        else:
            yield from ([".PP"] if number else [])
            yield from _lines(block)


def _verbatim(text: str) -> Iterator[str]:
    yield from (".RS 4", ".nf", *map(_escape, text.rstrip("\n").split("\n")), ".fi", ".RE")


def _rows(rows: Rows) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", f".B {_escape(term)}", *_lines(text))


def _lines(text: str) -> list[str]:
    return [_escape(line) for line in textwrap.wrap(text, 70, break_long_words=False, break_on_hyphens=False)]


def _escape(line: str) -> str:
    """A line that is read as it stands: no request, no typographic quote, no hyphen for a minus."""
    text = line.translate(_ESCAPES)
    return rf"\&{text}" if text.startswith((".", "\\")) else text


if __name__ == "__main__":
    for page, make in PAGES.items():
        Path(sys.argv[1], page).write_text(make())
