"""What a group's failures mean to a client: RaftError -> HoldfastError, at this one place.

Invariant: raft's first split (nothing happened / it may have) is the client's outcome; a read's outcome
is always *refused*, because nothing happens in a read.
"""

from __future__ import annotations

from holdfast.errors import HoldfastError, Reason, error
from holdfast.shardmap import Shard as MapEntry
from holdfast.types import Outcome
from holdfast_raft.errors import (
    Busy,
    DeadlinePassed,
    DiskFull,
    LeadershipLost,
    NoQuorum,
    NotLeader,
    RaftError,
    Stopped,
    StoppedMidway,
    Superseded,
    TooLarge,
    Unknown,
)

_REASONS: dict[type[RaftError], Reason] = {
    NotLeader: Reason.NOT_LEADER,
    NoQuorum: Reason.NO_QUORUM,
    Busy: Reason.BUSY,
    DiskFull: Reason.DISK_FULL,
    TooLarge: Reason.INVALID,
    Superseded: Reason.LEADERSHIP_LOST,
    Stopped: Reason.STOPPED,
    LeadershipLost: Reason.LEADERSHIP_LOST,
    DeadlinePassed: Reason.DEADLINE,
    StoppedMidway: Reason.STOPPED,
}


def not_leader(entry: MapEntry, leader: int | None) -> HoldfastError:
    """This replica does not lead; says who does, if known."""
    address = entry.address_of(leader) if leader is not None else None
    who = f"node {leader} at {address} leads" if address else "no leader is known here"
    return error(
        Reason.NOT_LEADER, f"this replica of group {entry.group} does not lead; {who}", leader=address or ""
    )


def deadline_passed(what: str, outcome: Outcome = Outcome.REFUSED) -> HoldfastError:
    """The caller's deadline came first."""
    return error(Reason.DEADLINE, f"the deadline passed before {what}", outcome=outcome)


def from_raft(problem: RaftError, entry: MapEntry, *, read: bool = False) -> HoldfastError:
    """The client's error for a group's failure."""
    if isinstance(problem, NotLeader):
        return not_leader(entry, problem.leader)
    outcome = Outcome.UNKNOWN if isinstance(problem, Unknown) and not read else Outcome.REFUSED
    return error(
        _REASONS.get(type(problem), Reason.INTERNAL),
        str(problem) or type(problem).__name__,
        outcome=outcome,
        retry_after_ms=problem.retry_after_ms if isinstance(problem, Busy) else 0,
    )
