"""Plots by hand: bars and lines as SVG text, small enough to be read in a diff, no library to keep.

Pure: figures in, text out. Colours keep apart for those who see red and green alike, on white and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

FONT = "font-family='ui-sans-serif, Helvetica, Arial, sans-serif'"
OURS, PEER, MARK, INK, GRID, PAPER = "#0b6e99", "#c4a35a", "#b3362b", "#22272e", "#d5d9de", "#ffffff"
COLOURS = (OURS, "#d1762c", "#5b8c3a", "#8a5aa8", MARK, "#6b7280")


class Bar(NamedTuple):
    """One bar: a ratio, its spread, and where its target stands. good: which side of the target is met."""

    label: str
    ratio: float
    least: float
    greatest: float
    target: float | None
    at_least: bool
    note: str


def document(width: int, height: int, body: Sequence[str], title: str) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}'"
        f" height='{height}' role='img'>"
    )
    paper = f"<rect width='{width}' height='{height}' fill='{PAPER}'/>"
    return "\n".join([head, f"<title>{escape(title)}</title>", paper, *body, "</svg>", ""])


def text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", fill: str = INK) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' text-anchor='{anchor}'"
        f" fill='{fill}'>{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}'"
        f" stroke-width='{width}'/>"
    )


def log_place(figure: float, low: float, high: float, start: float, length: float) -> float:
    """Where a figure stands on a logarithmic axis; what is outside stands at the end."""
    inside = min(max(figure, low), high)
    return start + length * (math.log(inside / low) / math.log(high / low))


def bars(found: Sequence[Bar], top: float, title: str, subtitle: str) -> tuple[list[str], float]:
    """Ratios on a logarithmic axis around 1, each with its target; and where the next thing may begin."""
    left, right, step = 250, 690, 30
    ends = [f for bar in found for f in (bar.least, bar.greatest, bar.target or 1.0) if f > 0]
    low, high = min([0.1, *ends]) / 1.2, max([10.0, *ends]) * 1.2
    body = [text(20, top + 24, title, size=17), text(20, top + 43, subtitle, size=12)]
    y = top + 62
    bottom = y + step * len(found) + 6
    for tick in ticks(low, high):
        x = log_place(tick, low, high, left, right - left)
        body.append(line(x, y, x, bottom, INK if tick == 1 else GRID, 1.5 if tick == 1 else 1))
        body.append(text(x, bottom + 15, f"{tick:g}x", size=11, anchor="middle"))
    one = log_place(1, low, high, left, right - left)
    for number, bar in enumerate(found):
        middle = y + step * number + step / 2 + 3
        x = log_place(bar.ratio, low, high, left, right - left)
        met = bar.target is None or (bar.ratio >= bar.target if bar.at_least else bar.ratio <= bar.target)
        colour = OURS if met else MARK
        body.append(text(left - 12, middle + 4, bar.label, anchor="end"))
        body.append(
            f"<rect x='{min(one, x):.1f}' y='{middle - 8:.1f}' width='{abs(x - one):.1f}' height='16'"
            f" fill='{colour}' rx='2'/>"
        )
        spread = [log_place(f, low, high, left, right - left) for f in (bar.least, bar.greatest)]
        body.append(line(spread[0], middle, spread[1], middle, INK, 1.5))
        if bar.target is not None:
            at = log_place(bar.target, low, high, left, right - left)
            body.append(line(at, middle - 12, at, middle + 12, "#000000", 2.5))
        body.append(text(right + 14, middle + 4, bar.note, size=12))
    return body, bottom + 30


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 and their tens between the two; only tens where that would be many."""
    made = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
    ]
    inside = [tick for tick in made if low <= tick <= high]
    if len(inside) <= 9:
        return inside
    return [tick for tick in inside if f"{tick:e}"[0] == "1"]


class Axis(NamedTuple):
    """A logarithmic axis; names tell figures that have words of their own."""

    label: str
    low: float
    high: float
    names: Mapping[float, str] = {}

    def shown(self) -> list[tuple[float, str]]:
        if self.names:
            return list(self.names.items())
        return [(tick, amount(tick)) for tick in ticks(self.low, self.high)]


def amount(figure: float) -> str:
    """1500000 as 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if figure >= size:
            return f"{figure / size:g}{letter}"
    return f"{figure:g}"


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    across: Axis,
    up: Axis,
    place: tuple[float, float, float, float],
    title: str,
    mark: tuple[float, str] | None = None,
) -> list[str]:
    """Lines on two logarithmic axes. place: left, top, width, height of the plot. mark: a level to keep."""
    left, top, width, height = place
    body = [text(left - 50, top - 14, title, size=15)]

    def x(figure: float) -> float:
        return log_place(figure, across.low, across.high, left, width)

    def y(figure: float) -> float:
        return top + height - log_place(figure, up.low, up.high, 0, height)

    for tick, words in across.shown():
        body.append(line(x(tick), top, x(tick), top + height, GRID))
        body.append(text(x(tick), top + height + 16, words, size=11, anchor="middle"))
    for tick, words in up.shown():
        body.append(line(left, y(tick), left + width, y(tick), GRID))
        body.append(text(left - 8, y(tick) + 4, words, size=11, anchor="end"))
    body.append(text(left + width / 2, top + height + 34, across.label, size=12, anchor="middle"))
    body.append(text(left + 4, top + 14, up.label, size=12))
    if mark is not None:
        level, words = mark
        body.append(line(left, y(level), left + width, y(level), "#000000", 1.5))
        body.append(text(left + 4, y(level) - 5, words, size=11))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        body.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        if len(points) <= 30:
            body += [f"<circle cx='{x(a):.1f}' cy='{y(b):.1f}' r='2.6' fill='{colour}'/>" for a, b in points]
        row = top + 16 + 18 * number
        body.append(line(left + width + 14, row, left + width + 34, row, colour, 3))
        body.append(text(left + width + 40, row + 4, name, size=12))
    return body
