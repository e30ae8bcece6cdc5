"""What a replica says of itself: facts for health, metrics, operators and tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a replica is in its group at this moment."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One replica's figures at one moment.

    Attributes:
        group: id of the group.
        role: see Role.
        term: current term.
        leader: node id of the leader, None when not known.
        commit_index, applied_index, last_index, durable_index, snapshot_index: positions in the
            group's log, with snapshot_index <= applied_index <= commit_index.
        has_quorum: the leader has been confirmed by a majority within the election timeout (as a
            follower: the leader's last heartbeat said so, and is that recent).
        leader_changes: leaders seen since this process started.
        log_bytes: bytes of entries held in memory.
        stopped_because: why the role is STOPPED; empty otherwise.
    """

    group: int
    role: Role
    term: int
    leader: int | None
    commit_index: int
    applied_index: int
    last_index: int
    durable_index: int
    snapshot_index: int
    has_quorum: bool
    leader_changes: int
    log_bytes: int
    stopped_because: str
