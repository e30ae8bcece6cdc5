"""What became of a bench's operations: counted for a second, added up over seconds and processes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.cli.latencies import Latencies


class Failed(NamedTuple):
    """A kind of failure: what was asked, why it failed, and whether it may have happened."""

    operation: str
    reason: str
    outcome: str  # refused, unknown; done: it happened, its previous value is not known


class Tally:
    """Counts over some time.

    Attributes:
        seconds: how long.
        latencies: kind -> of the answered operations.
        failed: the others.
        served: (node, level) -> reads it answered, and at which level.
        found: reads that found their key.
        not_begun: operations that were due in the end, and no caller was free to begin.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.latencies: defaultdict[str, Latencies] = defaultdict(Latencies)
        self.failed: Counter[Failed] = Counter()
        self.served: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.found = 0
        self.not_begun = 0

    def merge(self, other: Tally) -> None:
        """Adds another's counts; not its time, which may be the same time."""
        for kind, latencies in other.latencies.items():
            self.latencies[kind].merge(latencies)
        self.failed.update(other.failed)
        for whom, count in other.served.items():
            self.served[whom] += count
        self.found += other.found
        self.not_begun += other.not_begun

    def all_latencies(self) -> Latencies:
        """Of all kinds together."""
        whole = Latencies()
        for latencies in self.latencies.values():
            whole.merge(latencies)
        return whole

    def error_count(self) -> int:
        """Operations that failed."""
        return sum(self.failed.values())

    def by_reason(self) -> dict[str, int]:
        """Reason -> operations that failed for it, the most frequent first."""
        reasons: Counter[str] = Counter()
        for failed, count in self.failed.items():
            reasons[failed.reason] += count
        return dict(reasons.most_common())

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seconds": self.seconds,
            "latencies": {kind: latencies.wire() for kind, latencies in self.latencies.items()},
            "failed": [[*failed, count] for failed, count in self.failed.items()],
            "served": [[*whom, count] for whom, count in self.served.items()],
            "found": self.found,
            "not_begun": self.not_begun,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Tally:
        """What `wire` gave."""
        made = cls()
        made.seconds, made.found, made.not_begun = wire["seconds"], wire["found"], wire["not_begun"]
        made.latencies.update((kind, Latencies.from_wire(told)) for kind, told in wire["latencies"].items())
        made.failed = Counter({Failed(*failed): count for *failed, count in wire["failed"]})
        made.served.update(((node, level), count) for node, level, count in wire["served"])
        return made

    def __repr__(self) -> str:
        answered = {kind: latencies.count for kind, latencies in self.latencies.items()}
        return f"<Tally {answered}, {self.error_count()} errors, {self.seconds:.1f} s>"
