"""When a replica stands for election, and whom it would support: pre-vote, stickiness, timing.

The core's own timer is off (its timeout never comes); this decides, the engine campaigns.

- A replica that has heard a leader within the shortest election timeout supports nobody else
  (stickiness), unless the leader itself asked for the change.
- Before it campaigns it asks who would vote for it (pre-vote): a replica that was cut off cannot
  depose a leader that the others hear (D17).
- The leader's process closing its connection ends stickiness towards it at once.
- A loop that was late judges no time before its inbox is drained: `postpone`.

Pure: time and randomness are handed in.
"""

from __future__ import annotations

import random
from typing import NamedTuple


class Timing(NamedTuple):
    """Election and heartbeat times, seconds.

    Attributes:
        timeout_min, timeout_max: a replica that hears no leader for a random time between them asks
            for pre-votes. Stickiness and check-quorum use the bounds.
        heartbeat: how often a leader speaks.
        lost_leader_jitter: after the leader's process closed its connection: up to this long.
    """

    timeout_min: float = 0.3
    timeout_max: float = 0.6
    heartbeat: float = 0.075
    lost_leader_jitter: float = 0.03


class Election:
    """One replica's election clock."""

    def __init__(self, members: frozenset[int], me: int, timing: Timing, rng: random.Random) -> None:
        self._members = members
        self._me = me
        self._timing = timing
        self._rng = rng
        self._heard_at = float("-inf")
        self._asking_term = 0  # the term pre-votes are being gathered for; 0: none
        self._supporters: set[int] = set()
        self.due_at = float("inf")

    def start(self, now: float, *, patience: float | None = None) -> None:
        """Begins to wait: for `patience` seconds, or for a random timeout."""
        self.due_at = now + (self._timeout() if patience is None else patience)

    def heard_leader(self, now: float) -> None:
        """A leader of the present term spoke."""
        self._heard_at = now
        self._asking_term = 0
        self.due_at = now + self._timeout()

    def lost_leader(self, now: float) -> None:
        """The leader's process closed its connection: it is gone, not slow."""
        self._heard_at = float("-inf")
        self.due_at = min(self.due_at, now + self._rng.random() * self._timing.lost_leader_jitter)

    def postpone(self, now: float) -> None:
        """The loop was late: what the leader said may still lie in a socket."""
        self.due_at = max(self.due_at, now + self._timing.heartbeat * (2 + self._rng.random() * 2))
        if self._heard_at > float("-inf"):
            self._heard_at = max(self._heard_at, now - self._timing.timeout_min / 2)

    def hears_leader(self, now: float) -> bool:
        """Whether stickiness holds."""
        return now - self._heard_at < self._timing.timeout_min

    def ask(self, now: float, next_term: int) -> bool:
        """Starts to gather pre-votes for `next_term`; whether the own one is enough already."""
        self._asking_term = next_term
        self._supporters = {self._me}
        self.due_at = now + self._timeout()
        return self._has_majority()

    def supported(self, voter: int, next_term: int) -> bool:
        """Takes a granted pre-vote; whether it completes a majority (once)."""
        if next_term != self._asking_term or voter not in self._members or voter in self._supporters:
            return False
        self._supporters.add(voter)
        if not self._has_majority():
            return False
        self._asking_term = 0
        return True

    def campaigned(self, now: float) -> None:
        """A campaign began: wait a timeout for its end before asking again."""
        self._asking_term = 0
        self.due_at = now + self._timeout()

    def supports(
        self,
        now: float,
        *,
        next_term: int,
        current_term: int,
        candidate_log: tuple[int, int],
        own_log: tuple[int, int],
    ) -> bool:
        """Whether this replica would vote for the asker. Logs as (last term, last index)."""
        return next_term > current_term and candidate_log >= own_log and not self.hears_leader(now)

    def _has_majority(self) -> bool:
        return len(self._supporters) > len(self._members) // 2

    def _timeout(self) -> float:
        low, high = self._timing.timeout_min, self._timing.timeout_max
        return low + (high - low) * self._rng.random()
