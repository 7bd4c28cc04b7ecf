"""Plots as SVG: text that a browser draws, in light and dark.

Decides how a figure looks, not which: grouped bars, and lines over a logarithmic axis. No colour carries a meaning that
its label does not. Pure. Called by tests/bench.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#d1495b", "#8d6cab", "#2e86ab", "#3a9d5d", "#c98a1b", "#777777", "#5d5fef", "#00798c")
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 10px; fill: #555 }
.back { fill: #fff } .grid { stroke: #ddd } .axis { stroke: #888 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .small { fill: #aaa } .back { fill: #0d1117 } .grid { stroke: #30363d } .axis { stroke: #8b949e }
}
"""
_WIDTH, _LEFT, _RIGHT, _TOP, _INSET = 860, 150, 70, 64, 70


@dataclass(frozen=True)
class Scale:
    """Values to pixels, linear or logarithmic; `low` of a linear one is 0."""

    low: float
    high: float
    first: float  # pixel of `low`
    last: float
    log: bool

    def at(self, value: float) -> float:
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = value / self.high
        return self.first + part * (self.last - self.first)

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**n for n in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        least = self.high / 6
        power = 10.0 ** math.floor(math.log10(least))
        step = next(power * part for part in (1, 2, 5, 10) if power * part >= least)
        return [step * n for n in range(int(self.high / step) + 1)]


def log_scale(values: Sequence[float], first: float, last: float) -> Scale:
    """Whole powers of ten around them."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return Scale(10.0**low, 10.0 ** max(high, low + 1), first, last, True)


def linear_scale(values: Sequence[float], first: float, last: float) -> Scale:
    return Scale(0.0, max(max(values) * 1.08, 1e-9), first, last, False)


def number(value: float) -> str:
    """Short, as on an axis: 12, 1.5k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size * 10 or (size > 1e3 and value >= size):
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def picture(title: str, height: float, parts: Sequence[str], caption: Sequence[str]) -> str:
    """A whole SVG file: the parts, a title above and small lines below."""
    below = [text(12, height + 16 + 14 * n, words, kind="small") for n, words in enumerate(caption)]
    whole = height + 20 + 14 * len(caption)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {whole:.0f}" role="img">'
    body = [f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>"]
    body += [f'<rect width="{_WIDTH}" height="{whole:.0f}" class="back"/>', text(12, 24, title, kind="title")]
    return "\n".join([head, *body, *parts, *below, "</svg>"]) + "\n"


def legend(names: Sequence[str], y: float) -> Iterator[str]:
    x = 12.0
    for at, name in enumerate(names):
        yield f'<rect x="{x:.0f}" y="{y - 9:.0f}" width="10" height="10" fill="{COLOURS[at % len(COLOURS)]}"/>'
        yield text(x + 14, y, name)
        x += 30 + 7 * len(name)


def bars(
    title: str, axis: str, groups: Mapping[str, Mapping[str, float]], names: Sequence[str], caption: Sequence[str]
) -> str:
    """Horizontal bars, a group for each key, a colour for each of `names`, on a logarithmic axis."""
    values = [value for group in groups.values() for value in group.values() if value > 0]
    scale = log_scale(values, _LEFT, _WIDTH - _RIGHT)
    parts, y = list(legend(names, 46)), float(_TOP)
    for label, group in groups.items():
        began = y
        for name in (name for name in names if group.get(name)):
            end, colour = scale.at(group[name]), COLOURS[names.index(name) % len(COLOURS)]
            parts.append(f'<rect x="{_LEFT}" y="{y:.0f}" width="{end - _LEFT:.1f}" height="11" fill="{colour}"/>')
            parts.append(text(end + 4, y + 9, number(group[name]), kind="small"))
            y += 13
        parts.append(text(_LEFT - 8, (began + y) / 2 + 3, label, "end"))
        y += 12
    grid = [line(scale.at(tick), _TOP - 6, scale.at(tick), y, "grid") for tick in scale.ticks()]
    labels = [text(scale.at(tick), y + 14, number(tick), "middle", "small") for tick in scale.ticks()]
    labels.append(text((_LEFT + _WIDTH - _RIGHT) / 2, y + 30, axis, "middle"))
    return picture(title, y + 36, [*grid, *parts, *labels], caption)


@dataclass(frozen=True)
class Panel:
    """One diagram of lines: points by series. `dashed` series were not measured."""

    axis: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    dashed: tuple[str, ...] = ()


def lines(
    title: str, x_axis: str, panels: Sequence[Panel], caption: Sequence[str], show: Callable[[float], str] = number
) -> str:
    """Diagrams beneath each other, over one logarithmic axis; a colour for each series' name."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    xs = sorted({x for panel in panels for points in panel.series.values() for x, _ in points})
    across = Scale(xs[0], max(xs[-1], xs[0] * 2), _INSET + 50, _WIDTH - 50, True)
    parts, y = list(legend(names, 46)), float(_TOP)
    for panel in panels:
        parts += _panel(panel, names, across, xs, y)
        y += 220
    parts += [text(across.at(x), y - 22, show(x), "middle", "small") for x in xs]
    parts.append(text(_WIDTH / 2, y - 4, x_axis, "middle"))
    return picture(title, y + 4, parts, caption)


def _panel(panel: Panel, names: list[str], across: Scale, xs: Sequence[float], top: float) -> Iterator[str]:
    up = linear_scale([y for points in panel.series.values() for _, y in points], top + 180, top + 20)
    yield text(12, top + 8, panel.axis)
    for tick in up.ticks():
        yield line(_INSET, up.at(tick), _WIDTH - 12, up.at(tick), "grid")
        yield text(_INSET - 6, up.at(tick) + 4, number(tick), "end", "small")
    for x in xs:
        yield line(across.at(x), up.first, across.at(x), up.first + 4, "axis")
    for name, points in panel.series.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if name in panel.dashed else ""
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        for x, y in points:
            yield f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"/>'
            yield text(across.at(x), up.at(y) - 7, number(y), "middle", "small")
