"""What each row should reach, and whether it did.

Ratios are ours / the peer's in the same run; figures without a peer are bounds of their own. The bounds
are those the project set itself before it was built; none was moved to be met.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A bound. of_ratio: the ratio is judged, not our own figure."""

    bound: float
    at_least: bool
    of_ratio: bool = True
    unit: str = ""

    def met_by(self, ours: float, ratio: float | None) -> bool | None:
        """Whether the figure keeps the bound; None: there is nothing to judge."""
        judged = ratio if self.of_ratio else ours
        if judged is None:
            return None
        return judged >= self.bound if self.at_least else judged <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.bound:g}" + ("x" if self.of_ratio else f" {self.unit}".rstrip())


# (row, what is measured) -> target. The words are those of the rows' measures.
TARGETS: dict[tuple[str, str], Target] = {
    ("put-1", "p50"): Target(1.2, at_least=False),
    ("put-256", "rate"): Target(6, at_least=True),
    ("put-256", "p99 against its p50"): Target(1, at_least=False),
    ("lget-1", "p50"): Target(1.2, at_least=False),
    ("lget-256", "rate"): Target(10, at_least=True),
    ("sget-256", "rate against our lget-256"): Target(1, at_least=True),
    ("sget-256", "leader's CPU against our lget-256"): Target(0.333, at_least=False),
    ("batch-put-100", "rate"): Target(2, at_least=True),
    ("echo-floor", "gets against the echo"): Target(0.5, at_least=True),
    ("echo-floor", "puts against the echo"): Target(0.25, at_least=True),
    ("mixed-36k", "p99"): Target(5, at_least=False, of_ratio=False, unit="ms"),
    ("mixed-36k", "leader changes"): Target(0, at_least=False, of_ratio=False),
    ("mixed-36k", "rate kept"): Target(0.99, at_least=True),
    ("memory-1m", "bytes a key over key and value"): Target(250, at_least=False, of_ratio=False, unit="B"),
    ("memory-1m", "RSS"): Target(530, at_least=False, of_ratio=False, unit="MB"),
    ("snapshot-stall", "longest stall"): Target(20, at_least=False, of_ratio=False, unit="ms"),
    ("idle-64", "CPU of a node"): Target(3, at_least=False, of_ratio=False, unit="% of a core"),
}

ROWS = (
    "put-1",
    "put-256",
    "lget-1",
    "lget-256",
    "sget-256",
    "batch-put-100",
    "echo-floor",
    "mixed-36k",
    "memory-1m",
    "snapshot-stall",
    "idle-64",
)
