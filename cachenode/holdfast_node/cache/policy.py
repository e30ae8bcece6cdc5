"""A shard's policy: how large it may grow and what happens then.

Policy is state: it changes by an entry and travels in snapshots, so that every replica evicts alike.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from holdfast_node.limits import (
    BUDGET_BYTES_DEFAULT,
    HISTORY_BYTES_DEFAULT,
    HISTORY_EVENTS_DEFAULT,
    HISTORY_EVENTS_MAX,
)


class Eviction(IntEnum):
    """What happens when a write does not fit the budget. Numbers as in command.proto."""

    CLOCK = 1
    NOEVICT = 2


class Policy(NamedTuple):
    """Bounds of one shard's state.

    Attributes:
        budget_bytes: what its keys may take, counted as len(key) + len(value) + 64.
        eviction: what happens to a write that does not fit.
        history_events, history_bytes: what is kept for watchers; the older events go first.
    """

    budget_bytes: int = BUDGET_BYTES_DEFAULT
    eviction: Eviction = Eviction.CLOCK
    history_events: int = HISTORY_EVENTS_DEFAULT
    history_bytes: int = HISTORY_BYTES_DEFAULT

    def problem(self) -> str:
        """What is wrong with it, '' when nothing is."""
        if not 1 <= self.budget_bytes < 2**63:
            return f"budget_bytes is {self.budget_bytes}; it must be at least 1"
        if not 0 <= self.history_events <= HISTORY_EVENTS_MAX:
            return f"history_events is {self.history_events}; it must be 0..{HISTORY_EVENTS_MAX}"
        if not 0 <= self.history_bytes < 2**63:
            return f"history_bytes is {self.history_bytes}; it must be at least 0"
        return ""
