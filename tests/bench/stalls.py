"""What a probed node noted of its stalls, and which of them fell into a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Stall(NamedTuple):
    """The loop did not look for `seconds` until `ended`: it ran, had no core, or waited for a lock.

    Attributes:
        ran: the loop's thread, of that time.
        without_core: it could have run, and had no core.
        collected: of all of it, what collections of garbage took.
    """

    ended: float
    seconds: float
    ran: float = 0.0
    without_core: float = 0.0
    collected: float = 0.0

    @property
    def began(self) -> float:
        return self.ended - self.seconds

    @property
    def own(self) -> float:
        """What would have been on a core of its own, seconds."""
        return max(0.0, self.seconds - self.without_core)


class Span(NamedTuple):
    """From one moment to another."""

    began: float
    ended: float


def parsed(text: str) -> list[Stall]:
    """The file that probed_node.py writes; a line cut short by a kill is left out."""
    made = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if line.endswith("\n") and len(words) == len(Stall._fields):
            made.append(Stall(*map(float, words)))
    return made


def within(stalls: Iterable[Stall], spans: Sequence[Span]) -> list[Stall]:
    """Those that overlap one of the spans."""
    return [s for s in stalls if any(s.began <= span.ended and s.ended >= span.began for span in spans)]


def longest_ms(stalls: Iterable[Stall]) -> float:
    """The longest; 0 when none was noted."""
    return max((stall.seconds for stall in stalls), default=0.0) * 1e3


def longest_own_ms(stalls: Iterable[Stall]) -> float:
    """The longest there would have been had the loop's thread always had a core."""
    return max((stall.own for stall in stalls), default=0.0) * 1e3


def worst(stalls: Iterable[Stall], count: int) -> list[dict[str, float]]:
    """The longest ones, in ms, and what they are made of."""
    longest = sorted(stalls, key=lambda stall: stall.seconds, reverse=True)[:count]
    return [
        {
            "ms": round(stall.seconds * 1e3, 2),
            "ran_ms": round(stall.ran * 1e3, 2),
            "without_core_ms": round(stall.without_core * 1e3, 2),
            "collected_ms": round(stall.collected * 1e3, 2),
        }
        for stall in longest
    ]


def joined(moments: Sequence[tuple[float, bool]], slack: float) -> list[Span]:
    """Spans in which a condition that was looked at now and then held; `slack` is added at both ends."""
    spans: list[Span] = []
    began: float | None = None
    for moment, holds in moments:
        if holds and began is None:
            began = moment
        elif not holds and began is not None:
            spans.append(Span(began - slack, moment + slack))
            began = None
    if began is not None:
        spans.append(Span(began - slack, moments[-1][0] + slack))
    return spans
