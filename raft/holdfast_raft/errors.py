"""How a proposal or a barrier can fail.

    RaftError
    ├── Refused              nothing happened, now or later
    │   ├── NotLeader        carries the leader, if known
    │   ├── NoQuorum         no majority answers
    │   ├── Busy             a window is full; carries a retry-after
    │   ├── DiskFull         the WAL takes no more entries
    │   ├── TooLarge         the entry is over the bound
    │   ├── Superseded       another leader's entry was applied in its place
    │   └── Stopped          the replica stopped before it took the proposal
    └── Unknown              it may have happened
        ├── LeadershipLost   the leadership ended while it was under way
        ├── DeadlinePassed   the deadline came first
        └── StoppedMidway    the replica stopped while it was under way

The first split is what a caller may do next (Maelstrom's definite and indefinite errors).
"""

from __future__ import annotations


class RaftError(Exception):
    """Base of everything a group answers instead of a success."""


class Refused(RaftError):
    """Nothing happened, now or later."""


class NotLeader(Refused):
    """This replica does not lead; `leader` is the node id that does, None when not known."""

    def __init__(self, leader: int | None) -> None:
        self.leader = leader
        super().__init__(
            "this replica does not lead, and knows of no leader"
            if leader is None
            else f"this replica does not lead; node {leader} does"
        )


class NoQuorum(Refused):
    """No majority has answered within the election timeout."""


class Busy(Refused):
    """A bounded window is full; try again after `retry_after_ms`."""

    def __init__(self, what: str, retry_after_ms: int) -> None:
        self.what = what
        self.retry_after_ms = retry_after_ms
        super().__init__(f"{what} is full; try again in {retry_after_ms} ms")


class DiskFull(Refused):
    """The WAL keeps its last segment for votes; free space on the data disk."""


class TooLarge(Refused):
    """The entry is larger than an entry may be."""


class Superseded(Refused):
    """Another leader's entry was applied at this entry's index: it never will be."""


class Stopped(Refused):
    """The replica has stopped; `why` says for what reason."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class Unknown(RaftError):
    """It may have happened."""


class LeadershipLost(Unknown):
    """The leadership ended while the entry was under way."""


class DeadlinePassed(Unknown):
    """The deadline came before the outcome."""


class StoppedMidway(Unknown):
    """The replica stopped while the entry was under way."""
