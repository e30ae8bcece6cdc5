"""What a row has to say: one headline figure, others beside it, CPU by process, and the verdicts.

Pure: a row hands over the rounds of both sides and gets what is printed, judged and written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import spread
from tests.bench.spread import Spread
from tests.bench.targets import TARGETS, Target

HEADLINE = ("what", "unit", "ours", "min", "max", "peer_name", "peer", "ratio", "target", "met")
"""What a row's object has in any case, also when the row could not be run."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a row; peer and ratio are None where nothing stands beside it."""

    what: str
    unit: str
    ours: Spread
    peer_name: str = ""
    peer: Spread | None = None
    ratio: Spread | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether it reached its target; None: it has none, or the peer to judge it by was absent."""
        if self.target is None:
            return None
        return self.target.met_by(self.ours.median, None if self.ratio is None else self.ratio.median)

    def as_json(self) -> dict[str, Any]:
        peer, ratio = self.peer, self.ratio
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours.median,
            "min": self.ours.least,
            "max": self.ours.greatest,
            "peer_name": self.peer_name,
            "peer": peer and peer.median,
            "peer_min": peer and peer.least,
            "peer_max": peer and peer.greatest,
            "ratio": ratio and ratio.median,
            "ratio_min": ratio and ratio.least,
            "ratio_max": ratio and ratio.greatest,
            "target": str(self.target) if self.target else None,
            "met": self.met,
        }


def measure(
    row: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] = (),
    peer_name: str = "",
) -> Measure:
    """A measure of rounds; its target is looked up."""
    return Measure(
        what,
        unit,
        spread.of(ours),
        peer_name if theirs else "",
        spread.of(theirs) if theirs else None,
        spread.of_ratios(ours, theirs) if any(theirs) else None,
        TARGETS.get((row, what)),
    )


@dataclass(slots=True)
class RowResult:
    """A row. The first measure is its headline; `skipped` says why a peer's half (or all) is missing."""

    row: str
    measures: list[Measure]
    cpu: dict[str, float] = field(default_factory=dict)
    """Process -> microseconds of CPU an operation, where the row has operations."""
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    """Side -> percentiles in ms."""
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """met, missed, or why it cannot be said. A row without its peer is not shown."""
        if self.skipped:
            return f"NOT SHOWN: {self.skipped}"
        judged = [each.met for each in self.measures if each.target is not None]
        if not judged or None in judged:
            return "NOT SHOWN: nothing to judge"
        return "met" if all(judged) else "missed"

    def as_json(self) -> dict[str, Any]:
        """The row's object: the headline's figures flat, the other measures under `also`."""
        headline = self.measures[0].as_json() if self.measures else dict.fromkeys(HEADLINE)
        return {
            "row": self.row,
            **headline,
            "verdict": self.verdict,
            "also": [each.as_json() for each in self.measures[1:]],
            "cpu_us_per_operation": self.cpu,
            "latency_ms": self.latency,
            "notes": self.notes,
            "details": self.details,
        }

    def lines(self) -> list[str]:
        """As it is printed."""
        made = [f"{self.row}: {self.verdict}"]
        for each in self.measures:
            text = f"  {each.what}: {each.ours} {each.unit}"
            if each.peer is not None:
                text += f"; {each.peer_name} {each.peer}"
            if each.ratio is not None:
                text += f"; ratio {each.ratio}"
            if each.target is not None:
                said = {True: "met", False: "missed", None: "not shown"}[each.met]
                text += f"  [{each.target}: {said}]"
            made.append(text)
        for side, points in self.latency.items():
            made.append(f"  {side}, ms: " + ", ".join(f"{k} {spread.shown(v)}" for k, v in points.items()))
        if self.cpu:
            shown = ", ".join(f"{name} {spread.shown(us)}" for name, us in self.cpu.items())
            made.append(f"  CPU, us an operation: {shown}")
        return made + [f"  {note}" for note in self.notes]


def cpu_medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Process -> median over the rounds in which it took part."""
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: spread.of([each[name] for each in rounds if name in each]).median for name in names}
