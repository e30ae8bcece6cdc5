"""SVG, piece by piece: texts of elements, with what is written into them escaped.

A drawing has a frame of its own in user units; the page scales it. No script, nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

LEFT: Final = 70
RIGHT: Final = 12
WIDTH: Final = 1120


class Scale(NamedTuple):
    """Where a value stands: first..last becomes low..high."""

    first: float
    last: float
    low: float
    high: float

    def __call__(self, value: float) -> float:
        span = self.last - self.first or 1.0
        return round(self.low + (value - self.first) / span * (self.high - self.low), 1)


def across(seconds: float) -> Scale:
    """Time, over the whole width."""
    return Scale(0.0, max(seconds, 0.001), LEFT, WIDTH - RIGHT)


def figure(height: float, title: str, pieces: Iterable[str]) -> str:
    """A whole drawing."""
    body = "\n".join(pieces)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n{body}\n</svg>"
    )


def box(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    """A rectangle that says more when it is pointed at."""
    told = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{max(width, 1.5):g}" height="{height:g}"'
        f' class="{escape(kind)}">{told}</rect>'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" class="{escape(kind)}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    """A straight line."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{escape(kind)}"/>'


def path(points: Sequence[tuple[float, float] | None], kind: str) -> str:
    """A line through points; it breaks off where there is none."""
    words: list[str] = []
    is_down = False
    for point in points:
        if point is None:
            is_down = False
            continue
        words.append(f"{'L' if is_down else 'M'}{point[0]:g} {point[1]:g}")
        is_down = True
    return f'<path d="{" ".join(words)}" class="{escape(kind)}" fill="none"/>'


def area(points: Sequence[tuple[float, float]], floor: float, kind: str) -> str:
    """What lies between points and a floor."""
    if not points:
        return ""
    words = [f"M{points[0][0]:g} {floor:g}", *(f"L{x:g} {y:g}" for x, y in points)]
    return f'<path d="{" ".join(words)} L{points[-1][0]:g} {floor:g} Z" class="{escape(kind)}"/>'


def ticks(most: float, about: int = 4) -> list[float]:
    """Round values from 0 up to most."""
    step = 1.0
    while most / step > about:
        step *= 2.5 if str(step).lstrip("0.").startswith("2") else 2.0
    return [step * n for n in range(int(most / step) + 1)]
