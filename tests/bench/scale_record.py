"""What scale curves have measured so far: a file of one JSON object a line, added to as points are done.

A run that was ended goes on where it stood: points of the same commit that are in the file are not
measured again. Pure but for reading and appending the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, float]


class Record:
    """The file, and what a commit has in it."""

    def __init__(self, path: Path, commit: str) -> None:
        self._path = path
        self._commit = commit
        self._lines = parsed(path.read_text()) if path.exists() else []

    def left(self, curve: str, points: Iterable[float]) -> list[float]:
        """Points of the curve that this commit has not measured."""
        done = {x for x, _ in self.points(curve)}
        return [x for x in points if x not in done]

    def points(self, curve: str) -> list[tuple[float, Figures]]:
        """What this commit measured of a curve, ascending; of a point measured twice the later one."""
        found = {
            line["x"]: line["figures"]
            for line in self._lines
            if line["curve"] == curve and line["commit"] == self._commit
        }
        return sorted(found.items())

    def add(self, curve: str, x: float, figures: Mapping[str, float], facts: Mapping[str, Any]) -> None:
        """Appends a point; it is in the file when this returns."""
        line = {"curve": curve, "x": x, "figures": dict(figures), "commit": self._commit, **facts}
        self._lines.append(line)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def parsed(text: str) -> list[dict[str, Any]]:
    """The lines of a record; a last line that was cut short is left out."""
    made = []
    for line in text.splitlines():
        try:
            made.append(json.loads(line))
        except ValueError:
            continue
    return made


def series(
    points: Sequence[tuple[float, Figures]], names: Mapping[str, str]
) -> dict[str, list[tuple[float, float]]]:
    """Shown name -> (x, figure) for a plot; figures that are absent or not above zero have no place on it."""
    made = {}
    for shown, name in names.items():
        found = [(x, figures[name]) for x, figures in points if figures.get(name, 0) > 0]
        if found:
            made[shown] = found
    return made
