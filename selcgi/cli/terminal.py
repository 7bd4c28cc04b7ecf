"""What is shown to people: aligned tables, and no byte that their terminal would act on.

Decides that by Unicode: a character that is not printable, be it a control, a direction mark or half a surrogate, is
shown as "?". Programs behind a pipe get the bytes as they are. Used by the commands of cli/.
"""

import codecs
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import click


def plain(text: str) -> str:
    """Names, paths and outputs come from others."""
    return "".join(one if one.isprintable() else "?" for one in text)


def table(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> str:
    """Empty without rows."""
    if not rows:
        return ""
    cells = [columns, *(tuple(plain(str(row[name] or "-")) for name in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join((click.style(lines[0], underline=True), *lines[1:]))


def tell(name: str, text: str, colour: str | None = None) -> None:
    """A line on stderr; colour only on a terminal."""
    click.echo(f"{click.style(f'{name}:', fg=colour, bold=True)} {plain(text)}", err=True)


def sink(stream: TextIO) -> Callable[[bytes], None]:
    """What writes a script's output to stdout or stderr."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)

    def show(data: bytes) -> None:
        text = decoder.decode(data)
        text = "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)
        pass_on(text.encode(stream.encoding, "replace"))

    def pass_on(data: bytes) -> None:
        stream.buffer.write(data)
        stream.buffer.flush()

    return show if stream.isatty() else pass_on
