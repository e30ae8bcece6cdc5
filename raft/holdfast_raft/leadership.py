"""One term's leadership of one group: what the leader knows of its followers, and decides from it.

Made when a replica becomes leader, dropped when it stops. Pure: facts in, decisions out.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_raft.guard import committed_index
from holdfast_raft.progress import Progress


class Leadership:
    """See the module docstring. `followers` maps node to Progress."""

    def __init__(self, term: int, others: Iterable[int], next_index: int, now: float) -> None:
        self.term = term
        self.followers = {node: Progress(next_index, now) for node in others}
        self._round_confirmed_at = float("-inf")
        self._majority_of_others = (len(self.followers) + 1) // 2

    def committed_index(self, own_durable_index: int) -> int:
        """What is durable on a majority; the leader counts by its own disk like everybody ."""
        return committed_index([own_durable_index, *(p.match for p in self.followers.values())])

    def confirmed_at(self, now: float) -> float:
        """Send time of the leader's latest message that a majority confirmed; now for a group of one."""
        if not self._majority_of_others:
            return now
        times = sorted((p.confirmed_at for p in self.followers.values()), reverse=True)
        return max(self._round_confirmed_at, times[self._majority_of_others - 1])

    def round_confirmed(self, sent_at: float) -> None:
        """A barrier round sent at `sent_at` was confirmed by a majority."""
        self._round_confirmed_at = max(self._round_confirmed_at, sent_at)

    def heard_quorum(self, now: float, within: float) -> bool:
        """Check-quorum: whether a majority has answered within that many seconds."""
        missing = self._majority_of_others
        for progress in self.followers.values():
            if now - progress.heard_at <= within:
                missing -= 1
        return missing <= 0

    def grace(self, now: float) -> None:
        """The loop was late: answers may still lie in sockets, so nobody counts as silent yet."""
        for progress in self.followers.values():
            progress.heard_at = max(progress.heard_at, now - 0.1)

    def heard(self, node: int, now: float, confirmed_at: float | None = None) -> None:
        """A follower answered in this term; confirmed_at: when we sent what it answered."""
        progress = self.followers[node]
        progress.heard_at = now
        if confirmed_at is not None and confirmed_at > progress.confirmed_at:
            progress.confirmed_at = confirmed_at

    def most_caught_up(self, connected: Iterable[int]) -> int | None:
        """The connected follower with the highest match."""
        candidates = [(self.followers[node].match, -node) for node in connected if node in self.followers]
        return -max(candidates)[1] if candidates else None
