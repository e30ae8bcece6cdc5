"""What a node hosts, whatever it holds: the part of a replica that hosting, reports and orders need.

Two kinds there are: shards, and replicas of the placement group. Both end by a Seal in their own log and
begin from a sealed state, so that one mechanism moves both (docs/decisions/0006-reshape.md).
"""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.machine import Image, StateMachine
from holdfast_raft.proposals import ProposalDone

from holdfast_node.cache.seal import Sealed, Verdict
from holdfast_node.cache.state import State
from holdfast_node.placement.cluster import PLACEMENT_NAMESPACE
from holdfast_node.placement.state import PlacementState
from holdfast_node.restore import StateBuilder


class HostedState(Protocol):
    """What a log has led to, and what it has decided about plans."""

    @property
    def sealed(self) -> Sealed | None: ...
    @property
    def floor(self) -> int: ...
    def apply_entry(self, entry: bytes, place: tuple[int, int]) -> object:
        """Applies an entry that stands at (index, term). Raises UnknownEntryError."""
        ...

    def cut(self, start: bytes, end: bytes, source: int) -> HostedState:
        """What the target of [start, end) begins with; this is the sealed state of group `source`."""
        ...

    def shed(self, count: int) -> bool:
        """See shedding.py."""
        ...

    def freeze(self) -> Image: ...
    def builder(self) -> StateBuilder: ...
    def restored(self, builder: Any) -> HostedState:
        """The state that a finished builder holds."""
        ...


class HostedGroup(Protocol):
    """What is asked of a replica's group."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    @property
    def applied_index(self) -> int: ...
    def has_quorum(self) -> bool: ...
    def staleness_ms(self) -> int | None: ...


class Hosted(StateMachine, Protocol):
    """A replica. entry: its group, range and nodes."""

    entry: MapEntry

    @property
    def state(self) -> HostedState: ...
    @property
    def group(self) -> HostedGroup: ...
    @property
    def is_leader(self) -> bool: ...
    def bind(self, group: Any, driver: Any) -> None:
        """Names the group once it exists, in the same synchronous call that made it."""
        ...

    def propose_verdict(self, verdict: Verdict, deadline: float, done: ProposalDone) -> None:
        """Proposes a Seal, an Abort or an Unseal."""
        ...


def empty_state(namespace: str) -> HostedState:
    """A state of the kind that replicas of the namespace have."""
    return PlacementState() if namespace == PLACEMENT_NAMESPACE else State()
