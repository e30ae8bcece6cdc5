"""Why a replica refuses at once what needs a leader that a majority confirms.

Invariant: nothing waits for its deadline when no majority can answer. The circuit opens when the leader's
check-quorum or a follower's contact is lost. Both are probed by the group's own heartbeats, so there is
nothing to close it but the next look.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.errors import HoldfastError, Reason, error
from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.clock import Clock

from holdfast_node.refusals import not_leader

# A shard that has been without a proven leader for longer says NO_QUORUM instead of NOT_LEADER: an
# ordinary election is over by then.
NO_QUORUM_AFTER = 1.0


class Group(Protocol):
    """What the circuit needs of holdfast_raft.group.Group."""

    @property
    def leader(self) -> int | None: ...
    @property
    def stopped(self) -> str: ...
    def has_quorum(self) -> bool: ...


class Circuit:
    """See the module docstring."""

    def __init__(self, group: Group, entry: MapEntry, clock: Clock) -> None:
        self._group = group
        self._entry = entry
        self._clock = clock
        self._open_since: float | None = None

    def refusal(self) -> HoldfastError:
        """The error for an operation that this replica cannot have led or confirmed."""
        group = self._group
        if group.stopped:
            return error(Reason.STOPPED, f"this replica has stopped: {group.stopped}")
        now = self._clock.monotonic()
        if group.has_quorum():
            self._open_since = None
        elif self._open_since is None:
            self._open_since = now
        elif now - self._open_since > NO_QUORUM_AFTER:
            return error(
                Reason.NO_QUORUM,
                f"no leader of group {self._entry.group} that a majority confirms is known here",
            )
        return not_leader(self._entry, group.leader)

    def close(self) -> None:
        """A majority has just answered."""
        self._open_since = None
