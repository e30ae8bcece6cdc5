"""What a leader knows of one follower, and what it may send it next.

    PROBE      one append at a time until one matches: next may be wrong
    REPLICATE  pipelined up to a window; next runs ahead of match
    SNAPSHOT   the follower needs entries that are gone; a snapshot is under way

Invariant: match < next. After etcd-io/raft tracker/progress.go. Pure.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from holdfast_raft.guard import next_after_reply
from holdfast_raft.messages import AppendReply

MESSAGES_IN_FLIGHT_MAX = 64
BYTES_IN_FLIGHT_MAX = 16 * 1024 * 1024

PROBE_TICKS_MAX = 10


class Phase(Enum):
    """How a follower is being fed."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


# A follower's disk may be slow; its answers to chunks wait for it.
_QUIET_TICKS_MAX = {
    Phase.PROBE: PROBE_TICKS_MAX,
    Phase.REPLICATE: 4 * PROBE_TICKS_MAX,
    Phase.SNAPSHOT: 20 * PROBE_TICKS_MAX,
}


class Progress:
    """One follower, as its leader sees it."""

    __slots__ = (
        "_in_flight",
        "_in_flight_bytes",
        "_quiet_ticks",
        "bulk_until",
        "commit_sent",
        "confirmed_at",
        "heard_at",
        "match",
        "next",
        "phase",
        "probe_pending",
    )

    def __init__(self, next_index: int, now: float) -> None:
        self.match = 0
        self.next = next_index
        self.phase = Phase.PROBE
        self.probe_pending = False  # an unanswered probe is under way
        self.heard_at = now  # last reply in this term: check-quorum
        self.confirmed_at = float("-inf")  # our own send time of the last message it confirmed
        self.bulk_until = 0  # up to here appends went by the bulk lane: later ones must follow there
        self.commit_sent = 0  # the commit index it was told last
        self._in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes)
        self._in_flight_bytes = 0
        self._quiet_ticks = 0

    def may_send(self) -> bool:
        """Whether another append may leave now."""
        if self.phase is Phase.PROBE:
            return not self.probe_pending
        return (
            self.phase is Phase.REPLICATE
            and len(self._in_flight) < MESSAGES_IN_FLIGHT_MAX
            and self._in_flight_bytes < BYTES_IN_FLIGHT_MAX
        )

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Takes note of an append that left, ending with `last_index`."""
        if self.phase is Phase.PROBE:
            self.probe_pending = True
            self._quiet_ticks = 0
            return
        self.next = last_index + 1
        self._in_flight.append((last_index, size_bytes))
        self._in_flight_bytes += size_bytes

    def has_lost(self, reply: AppendReply) -> bool:
        """Whether the follower's log may end before what it has confirmed. Only the follower knows for
        certain: the reply may have been overtaken.
        """
        return not reply.matched and self.phase is Phase.PROBE and reply.index < self.match

    def replied(self, reply: AppendReply) -> bool:
        """Takes a reply of this term; whether match rose."""
        if not reply.matched and self.phase is Phase.REPLICATE and reply.index < self.match:
            return False  # says nothing new: overtaken by a success
        self._quiet_ticks = 0
        before = self.match
        self.match, self.next = next_after_reply(self.match, self.next, reply)
        self.probe_pending = False
        if reply.matched:
            while self._in_flight and self._in_flight[0][0] <= self.match:
                self._in_flight_bytes -= self._in_flight.popleft()[1]
            if self.phase is Phase.PROBE:
                self._become(Phase.REPLICATE)
                self.next = self.match + 1
        elif self.phase is Phase.REPLICATE:
            self._become(Phase.PROBE)
        return self.match > before

    def heard_snapshot(self) -> None:
        self._quiet_ticks = 0

    def stalled(self) -> bool:
        """Counts a tick; whether what is under way has been unanswered for too long."""
        if not (self.probe_pending or self._in_flight or self.phase is Phase.SNAPSHOT):
            self._quiet_ticks = 0
            return False
        self._quiet_ticks += 1
        return self._quiet_ticks >= _QUIET_TICKS_MAX[self.phase]

    def reconnected(self) -> None:
        """Nothing sent before counts as on its way: start over from what is known."""
        self.next = self.match + 1 if self.match else self.next
        self.bulk_until = 0
        self._become(Phase.PROBE)

    def restart(self) -> None:
        """Unanswered for too long on a connection that stands: begin again from what is known."""
        self.next = self.match + 1 if self.match else self.next
        self._become(Phase.PROBE)

    def back_off(self) -> None:
        """It cannot take what it needs now: probe it again in some ticks."""
        self.restart()
        self.probe_pending = True

    def needs_snapshot(self) -> None:
        """Its next entry is gone from the log."""
        self._become(Phase.SNAPSHOT)

    def snapshot_installed(self, index: int) -> None:
        """It stands durably at `index`."""
        self.match = max(self.match, index)
        self.next = self.match + 1
        self._become(Phase.PROBE)

    def _become(self, phase: Phase) -> None:
        self.phase = phase
        self._quiet_ticks = 0
        self.probe_pending = False
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def __repr__(self) -> str:
        return (
            f"<Progress {self.phase.value} match {self.match} next {self.next} flight {len(self._in_flight)}>"
        )
